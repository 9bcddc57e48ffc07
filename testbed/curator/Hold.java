// Holds a recipe of Curator: KIND ID HOSTS PATH, where KIND is latch, selector, mutex or barrier, which it
// waits at. Prints "waiting ID" at the start, "held ID" after the acquisition, and holds it until a
// line or the end of its standard input; then releases it, prints "left ID" and ends.
//
// Java runs it from source: java -cp JARS Hold.java KIND ID HOSTS PATH

import java.util.concurrent.CountDownLatch;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

public class Hold {
    private static String id;

    private static void say(String what) {
        System.out.println(what + " " + id);
        System.out.flush();
    }

    private static void untilTold() throws Exception {
        System.in.read();
    }

    public static void main(String[] words) throws Exception {
        String kind = words[0];
        id = words[1];
        String path = words[3];
        CuratorFramework client = CuratorFrameworkFactory.newClient(words[2], 4000, 10000, new RetryOneTime(500));
        client.start();
        client.blockUntilConnected();
        say("waiting");
        switch (kind) {
            case "latch":
                try (LeaderLatch latch = new LeaderLatch(client, path, id)) {
                    latch.start();
                    latch.await();
                    say("held");
                    untilTold();
                }
                break;
            case "selector":
                select(client, path);
                break;
            case "mutex":
                InterProcessMutex mutex = new InterProcessMutex(client, path);
                mutex.acquire();
                say("held");
                untilTold();
                mutex.release();
                break;
            case "barrier":
                new DistributedBarrier(client, path).waitOnBarrier();
                say("held");
                break;
            default:
                throw new IllegalArgumentException(kind);
        }
        client.close();
        say("left");
        // Threads of a listener would keep the JVM running.
        System.exit(0);
    }

    private static void select(CuratorFramework client, String path) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        LeaderSelector selector = new LeaderSelector(client, path, new LeaderSelectorListenerAdapter() {
            @Override
            public void takeLeadership(CuratorFramework framework) throws Exception {
                say("held");
                untilTold();
                done.countDown();
            }
        });
        selector.setId(id);
        selector.start();
        done.await();
        selector.close();
    }
}
