# Threads with a queue, timers, children, pipes, locks, blocked signals, System V memory.
use strict;
use warnings;
use threads;
use threads::shared;
use Thread::Queue;
use POSIX qw(:sys_wait_h :signal_h);
use Time::HiRes qw(sleep setitimer ITIMER_REAL ualarm);
use IPC::Open3;
use Fcntl qw(:flock);
use Socket;
use IPC::SysV qw(IPC_PRIVATE S_IRUSR S_IWUSR IPC_CREAT IPC_RMID);
my $sum :shared = 0; my $q = Thread::Queue->new;
my @t = map { threads->create(sub { while (defined(my $n = $q->dequeue)) { lock $sum; $sum += $n } threads->tid > 0 }) } 1..5;
$q->enqueue(1..500); $q->end; print "threads ", scalar(grep { $_->join } @t), " $sum\n";
my ($alarms, $chld) = (0, 0); $SIG{ALRM} = sub { $alarms++ }; setitimer(ITIMER_REAL, 0.02, 0.02);
while ($alarms < 5) { sleep 0.01 } setitimer(ITIMER_REAL, 0);
print "alarms ", $alarms >= 5, "\n";
$SIG{CHLD} = sub { while ((my $p = waitpid(-1, WNOHANG)) > 0) { $chld++ } };
for my $n (1..20) { my $p = fork // die; if (!$p) { POSIX::_exit($n) } } while ($chld < 20) { sleep 0.01 } print "children $chld\n"; $SIG{CHLD} = 'DEFAULT';
eval { local $SIG{ALRM} = sub { die "timeout\n" }; alarm 1; select(undef, undef, undef, 5); alarm 0 }; print "eval $@";
my $pid = open3(my $in, my $out, my $err = undef, 'sh', '-c', 'read a; echo out $a; exit 5'); print $in "x\n"; print <$out>; waitpid $pid, 0; print $? >> 8, "\n";
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC);
if (!fork) { close $a; print $b "pid ok\n"; exit }
close $b;
print <$a>;
wait;
open(my $l, '>', 'lock'); flock($l, LOCK_EX);
my $k = fork; if (!$k) { open(my $m, '>', 'lock'); exit(flock($m, LOCK_EX | LOCK_NB) ? 1 : 0) } 
waitpid $k, 0;
print "lock $?\n";
my $set = POSIX::SigSet->new(SIGUSR1); my $usr = 0; $SIG{USR1} = sub { $usr++ }; sigprocmask(SIG_BLOCK, $set);
kill USR1 => $$; print "blocked $usr\n";
sigprocmask(SIG_UNBLOCK, $set); print "then $usr\n";
my $id = shmget(IPC_PRIVATE, 100, S_IRUSR | S_IWUSR) // die $!; shmwrite($id, "shared", 0, 6);
if (!fork) { shmread($id, my $v, 0, 6); shmwrite($id, uc $v, 0, 6); exit }
wait;
shmread($id, my $v, 0, 6); print "$v\n";
shmctl($id, IPC_RMID, 0);
print "signal ", system('kill -9 $$') & 127, " ", `echo back`;
my @st = stat '.'; print "stat ", scalar @st, "\n";
print "glob ", join(',', sort glob '*'), "\n";
printf "%s\n", join ' ', (times)[0] >= 0;
exec 'sh', '-c', 'echo exec $0', 'argv';
