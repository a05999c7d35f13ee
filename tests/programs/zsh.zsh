zmodload zsh/zpty zsh/system zsh/datetime zsh/net/socket zsh/zselect zsh/mathfunc
a=(3 1 2); print ${(o)a} ${#a} $((sqrt(16))); print -l **/*(.N) | sort; coproc cat; print -p hi; read -p l; print $l; coproc exit
print =(echo tmp) | grep -c zsh; cat =(echo from tmp) <(echo from fd); multi() { print one >f1 >f2 }; multi; cat f1 f2
zpty p 'read x; print got $x; stty size'; zpty -w p typed; zpty -r p o '*got typed*'; print ${${o//$'\r'/}[(f)1]}; zpty -d p
TRAPUSR1() { print usr1 }; kill -USR1 $$; (exit 4); print $?; { sleep 0.2; exit 7 } & wait $!; print $?
zselect -t 5; print $? ; print $EPOCHSECONDS | grep -c '^[0-9]*$'; zsocket -l s; l=$REPLY; (zsocket s; print -u $REPLY over) & zsocket -a $l; read -u $REPLY x; print $x
sysopen -w -o creat fd 2>/dev/null; exec {n}>fdf; syswrite -o $n sys; exec {n}>&-; cat fdf; print; setopt extendedglob; print (#i)F1; print -n abc | sysread b; print $b $pipestatus; ulimit -n >/dev/null; print ok; TRAPEXIT() { print exit }
