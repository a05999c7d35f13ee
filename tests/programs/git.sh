# Many processes and threads on one repository: working trees that commit at once, packing, cloning, bisecting.
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
git init -q -b main r && cd r || exit
for d in 1 2 3 4; do mkdir d$d; for f in $(seq 30); do seq $((d * f)) >d$d/f$f; done; done
git add . && git commit -q -m all
for b in 1 2 3 4; do git worktree add -q ../w$b -b b$b; done
for b in 1 2 3 4; do (cd ../w$b; for i in 1 2 3; do echo $i >>d$b/f$i; git commit -qam "$b $i"; done) & done; wait
git merge -q --no-edit b1 b2 b3 b4 >/dev/null; git log --oneline | wc -l; git rev-parse HEAD
git -c pack.threads=4 repack -qad --depth=5; git fsck --full --no-dangling 2>/dev/null; echo $?
git clone -q --no-local . ../clone & git clone -q --bare . ../bare & wait
cd ../clone; git remote add bare ../bare; echo x >y; git add y; git commit -q -m y; git push -q bare main; git -C ../bare log -1 --format=%s
git fetch -q --all -j4; git grep -c 25 | tail -1; git archive HEAD d1 | tar t | wc -l
git bisect start HEAD b1 >/dev/null 2>&1; git bisect run sh -c 'test ! -e y' 2>/dev/null | grep -c 'first bad'; git bisect reset -q 2>/dev/null
git gc -q --prune=now; git count-objects; git rebase -q -x 'test -d d1' HEAD~2 2>/dev/null; git log -1 --format=%s
