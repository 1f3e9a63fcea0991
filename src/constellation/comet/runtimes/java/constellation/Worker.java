package constellation;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.BaseStream;

/**
 * The worker of functions in Java: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each
 * exec frame with exactly one result or error frame. With one call at a time the handler runs in the main thread, with more
 * each call has a thread.
 */
final class Worker {
    private static final int STREAM = 1;
    private static final int MAX_MESSAGE_CHARS = 8 << 10, MAX_STACK_CHARS = 32 << 10;
    private static final byte[] READY = {8, 1};

    /** Where a function's classes are, asked once it is known. */
    interface Code {
        ClassLoader loader() throws Exception;
    }

    private final Channel channel;
    private final Code code;
    private final AtomicInteger inHand = new AtomicInteger();
    private Init init = new Init();
    private Asker asker;
    private Method handler;

    Worker(Channel channel, Code code) {
        this.channel = channel;
        this.code = code;
    }

    /** For a program of which the function is a part. */
    public static void main(String[] none) throws ReflectiveOperationException {
        new Worker(Channel.ofHost(), Worker.class::getClassLoader).serve();
    }

    void serve() {
        byte[] version = System.getProperty("java.runtime.version").getBytes(StandardCharsets.UTF_8);
        byte[] hello = {8, 1, 18, 4, 'j', 'a', 'v', 'a', 26, (byte) Math.min(version.length, 100)};
        channel.send(Channel.HELLO, 0, 0, joined(hello, version, Math.min(version.length, 100)));
        while (true) take(channel.receive());
    }

    void take(Channel.Frame frame) {
        switch (frame.kind) {
            case Channel.EXEC: begin(frame); break;
            case Channel.INIT: load(frame.body); break;
            case Channel.REPLY: asker.replied(frame.body); break;
            case Channel.PING: channel.send(Channel.PONG, 0, frame.callId, frame.body); break;
            case Channel.CANCEL: break;
            case Channel.STOP: stop(); break;
            default: Runtime.getRuntime().halt(1);
        }
    }

    private static byte[] joined(byte[] first, byte[] second, int count) {
        byte[] out = java.util.Arrays.copyOf(first, first.length + count);
        System.arraycopy(second, 0, out, first.length, count);
        return out;
    }

    private void stop() {
        try {
            while (inHand.get() > 0) Thread.sleep(1);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        System.exit(0);
    }

    // --- the function

    private void load(byte[] body) {
        init = Init.read(body);
        asker = new Asker(channel, init.concurrency <= 1);
        byte[] answer = READY;
        try {
            setEnvironment(init.env);
            handler = find(init.handler, code.loader());
        } catch (Throwable error) {
            byte[] told = encode(error);
            ByteBuffer out = ByteBuffer.allocate(told.length + 6).put((byte) 18);
            int left = told.length;
            for (; left > 0x7f; left >>>= 7) out.put((byte) (left & 0x7f | 0x80));
            out.put((byte) left).put(told).flip();
            answer = new byte[out.limit()];
            out.get(answer);
        }
        flush();
        channel.send(Channel.READY, 0, 0, answer);
    }

    @SuppressWarnings("unchecked")
    private static void setEnvironment(Map<String, String> env) throws ReflectiveOperationException {
        if (env.isEmpty()) return;
        Field inner = System.getenv().getClass().getDeclaredField("m"); // of what makes it unmodifiable
        inner.setAccessible(true);
        ((Map<String, String>) inner.get(System.getenv())).putAll(env);
    }

    private static Method find(String name, ClassLoader loader) throws Exception {
        int dot = name.lastIndexOf('.');
        if (dot <= 0) throw new IllegalArgumentException("the handler \"" + name + "\" must look like \"Class.method\"");
        Class<?> owner = owner(name.substring(0, dot).replace('/', '.'), loader);
        for (Method each : owner.getDeclaredMethods())
            if (each.getName().equals(name.substring(dot + 1)) && Modifier.isStatic(each.getModifiers()) && each.getParameterCount() <= 2) {
                each.setAccessible(true);
                return each;
            }
        throw new NoSuchMethodException(owner.getName() + " has no static method " + name.substring(dot + 1) + "(event, context)");
    }

    /** A class, or the one that Kotlin makes of a file of that name. */
    private static Class<?> owner(String name, ClassLoader loader) throws ClassNotFoundException {
        try {
            return Class.forName(name, true, loader);
        } catch (ClassNotFoundException | NoClassDefFoundError error) { // the latter where only the case is another's
            int at = name.lastIndexOf('.') + 1;
            try {
                String file = name.substring(0, at) + Character.toUpperCase(name.charAt(at)) + name.substring(at + 1) + "Kt";
                return Class.forName(file, true, loader);
            } catch (ClassNotFoundException none) {
                throw new ClassNotFoundException("there is no class " + name);
            }
        }
    }

    // --- calls

    private void begin(Channel.Frame frame) {
        if (init.concurrency <= 1) {
            execute(frame);
            if (asker.isStopped()) stop();
            return;
        }
        inHand.incrementAndGet();
        try {
            new Thread(() -> {
                execute(frame);
                inHand.decrementAndGet();
            }).start();
        } catch (OutOfMemoryError error) { // the limits leave no room for another thread
            channel.send(Channel.ERROR, 0, frame.callId, encode(error));
            inHand.decrementAndGet();
        }
    }

    private void execute(Channel.Frame frame) {
        int kind = Channel.RESULT;
        byte[] answer;
        asker.begin(frame.callId);
        try {
            answer = outcome(frame);
        } catch (InvocationTargetException error) {
            kind = Channel.ERROR;
            answer = encode(error.getCause());
        } catch (Throwable error) {
            kind = Channel.ERROR;
            answer = encode(error);
        }
        asker.settle();
        flush();
        channel.send(kind, 0, frame.callId, answer);
    }

    private byte[] outcome(Channel.Frame frame) throws Exception {
        ByteBuffer head = ByteBuffer.wrap(frame.body);
        String id = hex(frame.body, 0, 16);
        String requestId = id.substring(0, 8) + "-" + id.substring(8, 12) + "-" + id.substring(12, 16) + "-" + id.substring(16, 20)
                + "-" + id.substring(20);
        boolean isStream = (head.getInt(44) & STREAM) != 0;
        String event = frame.body.length > Channel.HEAD_BYTES
                ? new String(frame.body, Channel.HEAD_BYTES, frame.body.length - Channel.HEAD_BYTES, StandardCharsets.UTF_8)
                : "null";
        Context context = new Context(init, requestId, hex(frame.body, 16, 16), hex(frame.body, 32, 8), head.getInt(40) & 0xffffffffL,
                new Logger(channel, frame.callId, init.logLimitBytes), asker, frame.callId);
        Object value = call(event, context);
        Iterator<?> pieces = value instanceof Iterator ? (Iterator<?>) value
                : value instanceof BaseStream ? ((BaseStream<?, ?>) value).iterator() : null;
        if (!isStream) {
            if (pieces == null) return bounded(Json.write(value));
            List<Object> listed = new ArrayList<>();
            pieces.forEachRemaining(piece -> listed.add(piece instanceof byte[] ? new String((byte[]) piece, StandardCharsets.UTF_8) : piece));
            return bounded(Json.write(listed));
        }
        if (pieces == null) channel.sendPieces(frame.callId, raw(value));
        else while (pieces.hasNext()) channel.sendPieces(frame.callId, raw(pieces.next()));
        return new byte[0];
    }

    private Object call(String event, Context context) throws Exception {
        Class<?>[] wanted = handler.getParameterTypes();
        Object[] given = new Object[wanted.length];
        if (given.length > 0) given[0] = wanted[0] == String.class ? event : Json.parse(event);
        if (given.length > 1) given[1] = context;
        return handler.invoke(null, given);
    }

    private static byte[] raw(Object piece) {
        if (piece instanceof byte[]) return (byte[]) piece;
        return (piece instanceof CharSequence ? piece.toString() : Json.write(piece)).getBytes(StandardCharsets.UTF_8);
    }

    private static byte[] bounded(String output) {
        byte[] raw = output.getBytes(StandardCharsets.UTF_8);
        if (raw.length > Channel.MAX_BODY_BYTES) throw new OutputTooLarge(raw.length);
        return raw;
    }

    private static final class OutputTooLarge extends RuntimeException {
        private static final long serialVersionUID = 1;

        OutputTooLarge(int size) {
            super("the output has " + size + " bytes; at most " + Channel.MAX_BODY_BYTES + " are carried", null, false, false);
        }
    }

    private static String hex(byte[] data, int from, int count) {
        StringBuilder out = new StringBuilder();
        for (int i = from; i < from + count; i++)
            out.append(Character.forDigit(data[i] >> 4 & 15, 16)).append(Character.forDigit(data[i] & 15, 16));
        return out.toString();
    }

    private static void flush() {
        System.out.flush();
        System.err.flush();
    }

    // --- errors

    static byte[] encode(Throwable error) {
        String type = error instanceof OutputTooLarge ? "OutputTooLarge" : error.getClass().getName();
        StringBuilder out = new StringBuilder("{\"type\":");
        Json.quote(type, out);
        out.append(",\"message\":");
        Json.quote(cut(String.valueOf(error.getMessage()), MAX_MESSAGE_CHARS), out);
        out.append(",\"stack\":");
        Json.quote(cut(stack(error), MAX_STACK_CHARS), out);
        return out.append('}').toString().getBytes(StandardCharsets.UTF_8);
    }

    private static String cut(String text, int most) {
        return text.length() <= most ? text : text.substring(0, most);
    }

    /** Without the frames of what called the handler. */
    private static String stack(Throwable error) {
        StringWriter all = new StringWriter();
        error.printStackTrace(new PrintWriter(all, true));
        StringBuilder own = new StringBuilder();
        for (String line : all.toString().split("\n"))
            if (!line.startsWith("\tat constellation.Worker") && !line.startsWith("\tat constellation.Launch") && !line.startsWith("\tat java.base/jdk.internal.reflect")
                    && !line.startsWith("\tat java.base/java.lang.reflect")) own.append(line).append('\n');
        return own.toString();
    }
}
