# A session on a child: breakpoints, watched memory, caught signals, calls, threads. Hardware has no watchpoints
# for what runs inside, so that they are the debugger's own on both sides.
cat >t.c <<'P'
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
int global = 5;
static int leaf(int n) { global += n; return global; }
int middle(int n) { int local = n * 2; return leaf(local) + 1; }
static void *thread(void *p) { for (int i = 0; i < 3; i++) middle(i); return p; }
int main(void)
{
    pthread_t t;
    pthread_create(&t, 0, thread, 0);
    pthread_join(t, 0);
    int r = middle(7);
    printf("r %d\n", r);
    fflush(stdout);
    raise(SIGUSR1);
    volatile int *p = 0;
    return *p;
}
P
gcc -g -O0 -pthread t.c -o t
cat >session <<'P'
set pagination off
set confirm off
set width 0
set can-use-hw-watchpoints 0
set debuginfod enabled off
handle SIGUSR1 stop print nopass
break leaf if n == 14
run
backtrace
frame 1
info locals
print global = 100
watch global
continue
backtrace 2
delete
info threads
continue
print $_siginfo.si_signo
stepi
up 3
print r
call middle(1)
continue
print $_siginfo._sifields._sigfault.si_addr
backtrace
kill
tbreak thread
run
next
info threads
finish
continue
kill
P
gdb -q -nx -batch -x session ./t 2>&1 | grep -v '^warning\|^Saved\|^Using host\|^$' |
  sed 's/0x[0-9a-f]*/ADDR/g; s/(LWP [0-9]*)//; s/, LWP [0-9]*//; s/Thread ADDR//; s/process [0-9]*/process/; s/expected=[0-9]*/expected/g; s/  */ /g; s/\[Inferior 1 .*/ended/'
