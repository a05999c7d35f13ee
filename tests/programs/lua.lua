local p = io.popen('echo from pipe; exit 3'); print(p:read('a'), p:close())
print(os.execute('exit 4')); print(os.execute('kill -9 $$'))
local f = io.open('f', 'w'); f:write(('x'):rep(100000)); f:close(); print(#io.open('f'):read('a'), os.rename('f', 'g'), io.open('f'))
local co = {}; for i = 1, 1000 do co[i] = coroutine.wrap(function() local s = 0; while true do s = s + coroutine.yield(s) end end); co[i]() end
local t = 0; for i = 1, 1000 do co[i](i); t = t + co[i](1) end; print(t); print(pcall(error, 'e')); print(os.getenv('HOME') ~= nil, os.tmpname():match('^/tmp/') ~= nil); os.exit(9)
