# A bus between sockets, terminals, pipes, files and programs.
socat UNIX-LISTEN:u,fork EXEC:cat 2>/dev/null & l=$!; for i in $(seq 100); do [ -S u ] && break; sleep 0.05; done
echo through unix | socat -t5 - UNIX-CONNECT:u; seq 20000 | socat -t5 - UNIX-CONNECT:u | md5sum
(echo pty; sleep 0.3) | socat -t2 - EXEC:'sh -c "test -t 0 && read x && echo got \$x"',pty,setsid,ctty,raw,echo=0 2>/dev/null
socat PTY,link=tty,rawer OPEN:typed,creat,append & t=$!; for i in $(seq 100); do [ -e tty ] && break; sleep 0.05; done
echo over a terminal >tty; for i in $(seq 100); do [ -s typed ] && break; sleep 0.05; done; cat typed; kill $t; wait $t; echo $?
socat -u FILE:/etc/passwd OPEN:copy,creat,trunc && cmp copy /etc/passwd && echo same; socat -u EXEC:'seq 5' SYSTEM:'sort -r'
mkfifo p; (echo through fifo >p &) ; socat -u PIPE:p,rdonly - ; echo
kill $l; wait $l; rm -f u; echo done
