# A server that forks to save while it serves, starts again from what it saved, then from its log of changes.
cli() { redis-cli -s $PWD/sock "$@"; }
up() { redis-server --port 0 --unixsocket $PWD/sock --dir $PWD --save '' --appendonly ${1:-no} --daemonize yes --pidfile $PWD/pid --logfile $PWD/log >/dev/null
       for i in $(seq 200); do [ "$(cli ping 2>/dev/null)" = PONG ] && return; sleep 0.05; done; echo no server; cat log; }
down() { cli shutdown $1 >/dev/null 2>&1; for i in $(seq 200); do [ -e pid ] || return; sleep 0.05; done; echo still there; }
up
i=0; while [ $i -lt 2000 ]; do echo "SET key:$i value:$i"; i=$((i+1)); done | cli --pipe | tail -1
cli config set rdb-key-save-delay 200 >/dev/null
cli rpush list a b c; cli hset h f 1 g 2; cli zadd z 1.5 m; cli incrby n 41; cli setex gone 1000 x; cli eval 'return redis.call("incr", "n")' 0
cli bgsave
cli set during yes; cli info persistence | grep -c rdb_bgsave_in_progress:1
for i in $(seq 400); do cli info persistence | grep -q rdb_bgsave_in_progress:0 && break; sleep 0.05; done
cli info persistence | grep -o rdb_last_bgsave_status:ok; redis-check-rdb dump.rdb | grep -o 'RDB looks OK'
down nosave
up
cli dbsize; cli get key:1999; cli lrange list 0 -1; cli hgetall h; cli get n; cli get during; cli ttl gone | grep -c '^9[0-9][0-9]$'
cli config set appendonly yes; for i in $(seq 200); do cli info persistence | grep -q aof_rewrite_in_progress:0 && break; sleep 0.05; done
cli set log entry; cli bgrewriteaof >/dev/null
timeout 1 redis-cli -s $PWD/sock subscribe c >sub & sleep 0.4; cli publish c message; wait; grep -c message sub
redis-benchmark -s $PWD/sock -q -n 2000 -c 20 -P 4 -t set,get,lpush --csv | cut -d, -f1
down nosave
up yes; cli get log; cli get key:7; down nosave
grep -c 'Background saving terminated with success' log
