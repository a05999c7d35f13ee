package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	const many = 1000
	var done sync.WaitGroup
	var sum, woken int64
	start, stop := make(chan struct{}), make(chan struct{})
	ring := make([]chan int, many)
	for i := range ring {
		ring[i] = make(chan int)
	}
	for i := 0; i < many; i++ {
		done.Add(1)
		go func(i int) {
			defer done.Done()
			<-start
			token := <-ring[i]
			atomic.AddInt64(&sum, int64(token))
			if i+1 < many {
				ring[i+1] <- token + 1
			}
			if i%10 == 0 {
				runtime.LockOSThread()
				time.Sleep(time.Millisecond * time.Duration(i%37))
				runtime.UnlockOSThread()
			}
			r, w, err := os.Pipe()
			if err != nil {
				panic(err)
			}
			go func() { w.Write([]byte{1}); w.Close() }()
			b := make([]byte, 2)
			n, _ := r.Read(b)
			atomic.AddInt64(&woken, int64(n))
			r.Close()
			<-stop
		}(i)
	}
	signals := make(chan os.Signal, 1000)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGWINCH, syscall.Signal(40))
	close(start)
	ring[0] <- 1
	for atomic.LoadInt64(&woken) < many {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("goroutines", runtime.NumGoroutine() >= many, sum)

	counts := map[os.Signal]int{}
	for i := 0; i < 100; i++ {
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGWINCH, syscall.Signal(40)} {
			syscall.Kill(os.Getpid(), s)
			counts[<-signals]++
		}
	}
	fmt.Println("signals", counts[syscall.SIGUSR1], counts[syscall.SIGWINCH], counts[syscall.Signal(40)])
	close(stop)
	done.Wait()

	// A busy loop is preempted by a signal to its thread; garbage is collected meanwhile.
	var flag int32
	go func() {
		for atomic.LoadInt32(&flag) == 0 {
		}
	}()
	for i := 0; i < 20; i++ {
		_ = make([]byte, 1<<20)
		runtime.GC()
	}
	atomic.StoreInt32(&flag, 1)

	var outs [8]string
	for i := range outs {
		done.Add(1)
		go func(i int) {
			defer done.Done()
			out, err := exec.Command("sh", "-c", fmt.Sprintf("echo %d; exit %d", i*i, i)).Output()
			outs[i] = fmt.Sprintf("%q %v", out, err)
		}(i)
	}
	done.Wait()
	fmt.Println(outs)
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		fmt.Println(*p)
	}()
	child := exec.Command("sleep", "100")
	child.Start()
	child.Process.Signal(syscall.SIGSTOP)
	child.Process.Signal(syscall.SIGCONT)
	child.Process.Kill()
	fmt.Println(child.Wait())
	signal.Reset()
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(10 * time.Second)
}
