# A program under an instrumenting emulator: threads, a child, undefined values, overruns, leaks.
cat >t.c <<'P'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static void *f(void *p) { free(malloc(10)); return p; }
int main(void)
{
    char *p = malloc(10);
    p[3] = 1;
    pthread_t t[4];
    for (int i = 0; i < 4; i++) pthread_create(t + i, 0, f, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    if (!fork()) _exit(3);
    int s;
    wait(&s);
    printf("%d\n", WEXITSTATUS(s));
    fflush(stdout);
    mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p[4]) puts("undefined");
    p = malloc(5);
    p[5] = 1;
    free(p);
    p = malloc(77);
    return 0;
}
P
gcc -g -pthread t.c -o t 2>/dev/null
valgrind --leak-check=full --error-exitcode=9 ./t 2>&1 | sed 's/==[0-9]*==//; s/0x[0-9A-Fa-f]*/ADDR/g' | grep -v 'Copyright\|Using Valgrind'
