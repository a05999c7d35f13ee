# An allocator that is preloaded: threads and children with it, its own thread, memory given back in its several ways.
export LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 MALLOC_CONF=background_thread:true,dirty_decay_ms:10,muzzy_decay_ms:10,tcache:true
python3 - <<'P'
import threading, os, ctypes, time
print('jemalloc' in open('/proc/self/maps').read())
def work(n):
    kept = []
    for i in range(300):
        kept.append(bytes([n]) * (1 + i * 997 % 300000))
        if len(kept) > 30: kept.pop(i % 30)
    sums[n] = sum(map(len, kept))
    assert all(k[:1] == bytes([n]) for k in kept)
sums = {}
ts = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(sums.items()))
pids = []
for i in range(4):
    pid = os.fork()
    if pid == 0:
        work(i); os._exit(i)
    pids.append(pid)
print([os.waitpid(p, 0)[1] >> 8 for p in pids])
je = ctypes.CDLL(None)
v = ctypes.c_bool(); n = ctypes.c_size_t(1)
print(je.mallctl(b'background_thread', ctypes.byref(v), ctypes.byref(n), None, 0), v.value)
print(je.mallctl(b'arena.4096.purge', None, None, None, 0))
time.sleep(0.1)
P
MALLOC_CONF=retain:false,thp:always,metadata_thp:auto,oversize_threshold:1 perl -e 'for (1..200) { my $x = "x" x (3_000_000 - $_); push @k, $x if $_ % 20 == 0 } print length(join "", @k), "\n"'
seq 200000 | sort -rn -S 10M | head -1
MALLOC_CONF=stats_print:true,narenas:2 perl -e 1 2>&1 | grep -c "Begin jemalloc"
