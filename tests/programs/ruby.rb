# Threads, children, time limits, fibers and ractors, a terminal, signals as exceptions.
require 'timeout'
require 'open3'
require 'pty'
require 'io/console'
q = Queue.new
ts = 5.times.map { Thread.new { s = 0; while (x = q.pop) != :end; s += x; end; s } }
1000.times { |i| q << i }
5.times { q << :end }; puts ts.sum(&:value)
puts 10.times.map { |i| fork { exit!(i) } }.map { |p| Process.wait2(p)[1].exitstatus }.sum
begin; Timeout.timeout(0.1) { sleep 5 }; rescue Timeout::Error => e; puts e.class; end
trap('USR1') { puts 'usr1' }
Process.kill('USR1', $$); sleep 0.1
o, s = Open3.capture2e('sh', '-c', 'cat; echo err >&2; exit 3', stdin_data: 'in')
p o, s.exitstatus
r = Ractor.new { Ractor.receive * 2 }
r.send(21)
p r.take
f = Fiber.new { |x| y = Fiber.yield(x + 1); y * 2 }
p f.resume(1), f.resume(10)
PTY.spawn('sh', '-c', 'stty size; read x; echo got $x') do |out, inp, _|
  inp.puts 'typed'
  seen = +''
  begin
    loop { seen << out.readpartial(100) }
  rescue EOFError, Errno::EIO
  end
  puts seen.include?('got typed')
end
a, b = IO.pipe; Process.detach(spawn('echo spawned', out: b)).join; b.close
puts a.read
at_exit { puts 'at exit' }
50.times { 'x' * 1_000_000 }; GC.start
puts GC.count > 0
File.open('f', 'w') { |g| g.flock(File::LOCK_EX); g.puts 'x' }; puts File.stat('f').size, Dir.glob('*').sort.join(',')
begin; Process.kill(:TERM, $$); sleep 2; rescue SignalException => e; puts e.message; end
