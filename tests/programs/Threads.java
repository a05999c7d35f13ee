import java.io.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Threads {
    static int depth;
    static void deeper() { depth++; deeper(); }

    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(16);
        AtomicLong sum = new AtomicLong();
        List<Future<Long>> futures = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            final long n = i;
            futures.add(pool.submit(() -> { sum.addAndGet(n); Thread.sleep(1); return n * n; }));
        }
        long squares = 0;
        for (Future<Long> f : futures) squares += f.get();
        pool.shutdown();
        System.out.println("pool " + sum + " " + squares + " " + pool.awaitTermination(20, TimeUnit.SECONDS));
        System.out.println("parallel " + IntStream.range(0, 1_000_000).parallel().mapToLong(x -> x).sum());

        Object lock = new Object();
        int[] turn = { 0 };
        Thread[] threads = new Thread[3];
        for (int t = 0; t < 3; t++) {
            final int me = t;
            threads[t] = new Thread(() -> {
                for (int i = 0; i < 300; i++) synchronized (lock) {
                    while (turn[0] % 3 != me) try { lock.wait(); } catch (InterruptedException e) { return; }
                    turn[0]++;
                    lock.notifyAll();
                }
            });
            threads[t].start();
        }
        for (Thread t : threads) t.join();
        System.out.println("turns " + turn[0]);
        Thread sleeper = new Thread(() -> {
            try { Thread.sleep(100_000); } catch (InterruptedException e) { System.out.println("interrupted"); }
        });
        sleeper.start(); sleeper.interrupt(); sleeper.join();

        // Faults that the virtual machine mends: a null pointer, a stack that is full, a safepoint poll.
        String none = args.length > 5 ? "" : null;
        int caught = 0;
        for (int i = 0; i < 20_000; i++) try { none.length(); } catch (NullPointerException e) { caught++; }
        try { deeper(); } catch (StackOverflowError e) { caught++; }
        System.out.println("caught " + caught + " " + (depth > 1000));
        List<byte[]> kept = new LinkedList<>();
        for (int i = 0; i < 300; i++) { kept.add(new byte[1 << 20]); if (kept.size() > 20) kept.remove(0); }
        System.gc();
        System.out.println("kept " + kept.size());
        try { byte[][] all = new byte[1 << 20][]; for (int i = 0; ; i++) all[i] = new byte[1 << 20]; }
        catch (OutOfMemoryError e) { System.out.println("memory ends"); }

        Process p = new ProcessBuilder("sh", "-c", "read x; echo got $x; echo err >&2; exit 4").start();
        try (Writer w = new OutputStreamWriter(p.getOutputStream())) { w.write("line\n"); }
        System.out.println(new String(p.getInputStream().readAllBytes()).trim() + " "
            + new String(p.getErrorStream().readAllBytes()).trim() + " " + p.waitFor());
        Process q = new ProcessBuilder("sleep", "100").start();
        q.destroy();
        System.out.println(q.waitFor());

        Path file = Path.of("file");
        Files.writeString(file, "text " + "x".repeat(10_000));
        try (FileChannel c = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, 5);
            m.put(0, (byte) 'T'); m.force();
            try (FileLock l = c.lock()) { System.out.println(l.isValid()); }
        }
        System.out.println(Files.readString(file).substring(0, 5) + Files.size(file));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        sun.misc.Signal.handle(new sun.misc.Signal("USR2"), s -> { System.out.println("signal " + s); System.exit(7); });
        sun.misc.Signal.raise(new sun.misc.Signal("USR2"));
        Thread.sleep(20_000);
    }
}
