# Two shells and a Python write to one file at once, in WAL mode, while a reader looks that it sees whole transactions.
sqlite3 db 'pragma journal_mode=wal; create table t (who, n); create table c (v); insert into c values (0)'
add() { for i in $(seq 100); do echo "pragma busy_timeout=60000; begin immediate; insert into t values ('$1', $i); update c set v=v+1; commit;"; done | sqlite3 db | grep -v 60000; }
add a & add b & 
python3 - <<'P' &
import sqlite3
c = sqlite3.connect('db', timeout=60, isolation_level=None)
for i in range(100):
    c.execute('begin immediate'); c.execute("insert into t values ('p', ?)", (i,)); c.execute('update c set v=v+1'); c.execute('commit')
r = c.execute('pragma integrity_check').fetchone()
P
seen=0; for i in $(seq 30); do v=$(sqlite3 db 'pragma busy_timeout=60000; begin; select (select count(*) from t) = (select v from c); commit' | tail -1); [ "$v" = 1 ] || echo torn $v; done
wait
sqlite3 db 'select who, count(*), sum(n) from t group by who; select v from c; pragma integrity_check; pragma wal_checkpoint(truncate)'
(echo 'begin immediate; insert into t values (9,9);'; sleep 0.6; echo 'commit;') | sqlite3 db & sleep 0.2; sqlite3 db 'begin immediate' 2>&1 | grep -o locked; wait
sqlite3 db 'select count(*) from t'; ls
