package constellation;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Asks for all calls of one worker. Where calls come one at a time, the thread that asks reads the channel itself until its
 * reply is there; with more, the main thread reads for all.
 */
final class Asker {
    static final int GET = 1, PUT = 2, DELETE = 3, LIST = 4, INVOKE = 5, INVOKE_ASYNC = 6, STEP = 7, STEP_DONE = 8, SLEEP = 9, WAIT = 10, PUBLISH = 11,
            WAIT_MESSAGE = 12;
    static final int NAME = 3, KEY = 4, VALUE = 5, IF_VERSION = 6, TTL_MS = 7, FOR_MS = 8, LIMIT = 9, AFTER = 10, SEQ = 11, ERROR = 12;

    private final Channel channel;
    private final boolean isAlone;
    private final ReentrantLock turn = new ReentrantLock();
    private final Map<Integer, SynchronousQueue<Reply>> waiting = new ConcurrentHashMap<>();
    private int last;
    private volatile int current; // the call in hand when calls come one at a time
    private volatile boolean isUsed, isStopped;

    Asker(Channel channel, boolean isAlone) {
        this.channel = channel;
        this.isAlone = isAlone;
    }

    /** The fields of an Ask (proto/agent.proto), as they are put together; null is left out. */
    static final class Fields {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();

        Fields put(int number, long value) {
            varint(number << 3);
            varint(value);
            return this;
        }

        Fields put(int number, Object text) {
            if (text == null) return this;
            if (text instanceof Number) return put(number, ((Number) text).longValue());
            byte[] raw = text instanceof byte[] ? (byte[]) text : text.toString().getBytes(StandardCharsets.UTF_8);
            varint(number << 3 | 2);
            varint(raw.length);
            out.write(raw, 0, raw.length);
            return this;
        }

        private void varint(long value) {
            long left = value;
            for (; (left & ~0x7fL) != 0; left >>>= 7) out.write((int) (left & 0x7f | 0x80));
            out.write((int) left);
        }
    }

    private static final class Reply {
        int id;
        String value, error;

        Reply(byte[] body) {
            for (int at = 0; at < body.length; ) {
                long tag = 0, value = 0;
                for (int shift = 0; ; shift += 7) {
                    tag |= (long) (body[at] & 0x7f) << shift;
                    if (body[at++] >= 0) break;
                }
                for (int shift = 0; ; shift += 7) {
                    value |= (long) (body[at] & 0x7f) << shift;
                    if (body[at++] >= 0) break;
                }
                if ((tag & 7) == 0) {
                    id = (int) value;
                    continue;
                }
                String text = new String(body, at, (int) value, StandardCharsets.UTF_8);
                at += (int) value;
                if (tag >> 3 == 2) this.value = text;
                else error = text;
            }
        }
    }

    Map<?, ?> ask(int callId, int op, Fields fields) {
        turn.lock();
        SynchronousQueue<Reply> queue = null;
        Reply reply = null;
        try {
            isUsed = true;
            if (isAlone && current != callId)
                throw new ConstellationError(Map.of("code", "call_ended", "type", "CallEnded", "message", "the call in which this was asked has ended"));
            int id = ++last;
            byte[] head = new Fields().put(1, id & 0xffffffffL).put(2, op).out.toByteArray();
            ByteArrayOutputStream body = new ByteArrayOutputStream();
            body.writeBytes(head);
            body.writeBytes(fields.out.toByteArray());
            if (!isAlone) waiting.put(id, queue = new SynchronousQueue<>());
            channel.send(Channel.ASK, 0, callId, body.toByteArray());
            if (isAlone) reply = await(id);
        } finally {
            turn.unlock();
        }
        if (queue != null) reply = taken(queue);
        if (reply.error == null) return (Map<?, ?>) Json.parse(reply.value);
        Map<?, ?> facts = (Map<?, ?>) Json.parse(reply.error);
        if ("suspended".equals(facts.get("code"))) throw new ConstellationError.Suspended();
        throw new ConstellationError(facts);
    }

    private static Reply taken(SynchronousQueue<Reply> queue) {
        boolean isInterrupted = false;
        while (true) {
            try {
                Reply reply = queue.take();
                if (isInterrupted) Thread.currentThread().interrupt();
                return reply;
            } catch (InterruptedException again) {
                isInterrupted = true;
            }
        }
    }

    private Reply await(int id) {
        while (true) {
            Channel.Frame frame = channel.receive();
            if (frame.kind == Channel.REPLY) {
                Reply reply = new Reply(frame.body);
                if (reply.id == id) return reply;
            } else if (frame.kind == Channel.PING) {
                channel.send(Channel.PONG, 0, frame.callId, frame.body);
            } else if (frame.kind == Channel.STOP) {
                isStopped = true;
            }
        }
    }

    /** Hands a reply to the thread that waits for it. */
    void replied(byte[] body) {
        Reply reply = new Reply(body);
        SynchronousQueue<Reply> queue = waiting.remove(reply.id);
        if (queue == null) return;
        try {
            queue.put(reply);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    void begin(int callId) {
        current = callId;
    }

    /** Before a call is answered: waits for what threads of it still ask, so that one thread reads the channel again. */
    void settle() {
        current = 0; // first: who asks from now on is refused, or is seen to have asked
        if (!isAlone || !isUsed) return;
        turn.lock();
        isUsed = false;
        turn.unlock();
    }

    boolean isStopped() {
        return isStopped;
    }
}
