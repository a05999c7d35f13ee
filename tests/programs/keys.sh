# Keys and certificates; an agent that goes into the background; a benchmark in several processes.
ssh-keygen -q -t ed25519 -N '' -C c -f key && ssh-keygen -y -f key | cut -d' ' -f1; ssh-keygen -l -f key.pub | cut -d' ' -f1
ssh-keygen -q -t rsa -b 2048 -N pass -f r && ssh-keygen -p -P pass -N new -f r >/dev/null && ssh-keygen -y -P new -f r | wc -w
eval $(ssh-agent -a $PWD/agent) >/dev/null; ssh-add -q key; ssh-add -l | cut -d' ' -f1,4; ssh-agent -k >/dev/null
for i in $(seq 100); do [ -e agent ] || break; sleep 0.05; done; ls agent 2>&1 | grep -o 'No such'
openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=localhost 2>/dev/null; openssl x509 -in c.pem -noout -subject
openssl enc -aes-256-cbc -pbkdf2 -pass pass:p -in /etc/passwd -out e && openssl enc -d -aes-256-cbc -pbkdf2 -pass pass:p -in e | cmp - /etc/passwd && echo round
openssl speed -seconds 1 -bytes 1024 -multi 2 -evp sha256 2>/dev/null | grep -c '^evp\|^sha256'; openssl rand -hex 8 | wc -c
echo text >m; openssl dgst -sha256 -sign k.pem -out s m; openssl x509 -in c.pem -pubkey -noout >p; openssl dgst -sha256 -verify p -signature s m
