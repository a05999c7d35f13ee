<?php
// Children, signals, pipes, locks and sockets.
pcntl_async_signals(true);
$children = [];
for ($i = 0; $i < 5; $i++) {
    $pid = pcntl_fork();
    if ($pid === 0) exit($i + 1);
    $children[] = $pid;
}
$codes = 0;
foreach ($children as $pid) {
    pcntl_waitpid($pid, $status);
    $codes += pcntl_wexitstatus($status);
}
echo "codes $codes\n";
$alarms = 0;
pcntl_signal(SIGALRM, function () use (&$alarms) { $alarms++; });
pcntl_alarm(1);
$start = microtime(true);
while (!$alarms && microtime(true) - $start < 20) usleep(10000);
echo "alarms $alarms\n";
$cat = proc_open(['sh', '-c', 'cat; exit 6'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], 'through');
fclose($pipes[0]);
echo stream_get_contents($pipes[1]), ' ', proc_close($cat), "\n";
[$a, $b] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
fwrite($a, "pair\n");
echo fgets($b);
var_dump(flock(fopen('lock', 'c+'), LOCK_EX | LOCK_NB));
echo exec('echo executed'), ' ', trim(shell_exec('id -u')), ' ', strlen(random_bytes(8)), ' ', php_sapi_name(), "\n";
file_put_contents('x', 'y', LOCK_EX);
rename('x', 'z');
echo implode(',', scandir('.')), ' ', filesize('z'), ' ', hash('sha256', str_repeat('x', 1000000)), "\n";
$server = stream_socket_server('unix://sock');
if (pcntl_fork() === 0) {
    fwrite(stream_socket_client('unix://sock'), "over a socket\n");
    exit(0);
}
echo fgets(stream_socket_accept($server, 10));
pcntl_wait($status);
echo pcntl_wexitstatus($status), "\n";
