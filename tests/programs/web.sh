# A server of threads on the loopback with a short backlog; many requests at once, one after another, and none left out.
python3 -u - >port <<'P' &
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        n = int(self.path[1:] or 0)
        self.send_response(200); self.send_header('Content-Length', str(n)); self.end_headers()
        self.wfile.write(b'x' * n)
    def do_POST(self):
        n = int(self.headers['Content-Length'])
        got = len(self.rfile.read(n))
        self.send_response(201); self.send_header('Content-Length', '6'); self.end_headers()
        self.wfile.write(b'%06d' % got)
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
P
server=$!; for i in $(seq 200); do [ -s port ] && break; sleep 0.05; done; url=http://127.0.0.1:$(cat port)
curl -s $url/5; echo; curl -s $url/3000000 | wc -c
seq 100000 >data; curl -s --data-binary @data -o posted -w '%{http_code}\n' $url/x; cat posted; echo
curl -s -Z $url/[1-20] -o 'got#1' 2>/dev/null; echo $?; cat got* | wc -c
curl -s -m 5 http://127.0.0.1:1/; echo $?
kill $server; wait $server 2>/dev/null; echo $?
