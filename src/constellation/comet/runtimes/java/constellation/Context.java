package constellation;

import java.time.Instant;

/** What a handler may know of its call. */
public final class Context {
    public final String requestId, functionName, functionVersion, tenant, namespace;
    public final int memoryLimitMb;
    public final Instant deadline;
    public final String traceId, spanId, traceparent;
    public final Logger logger;
    private final long untilNs;

    Context(Init init, String requestId, String traceId, String spanId, long remainingMs, Logger logger) {
        this.requestId = requestId;
        this.functionName = init.name;
        this.functionVersion = init.version;
        this.tenant = init.tenant;
        this.namespace = init.namespace;
        this.memoryLimitMb = init.memoryLimitMb;
        this.deadline = Instant.now().plusMillis(remainingMs);
        this.traceId = traceId;
        this.spanId = spanId;
        this.traceparent = "00-" + traceId + "-" + spanId + "-01";
        this.logger = logger;
        this.untilNs = System.nanoTime() + remainingMs * 1_000_000;
    }

    /** How long the caller still waits. */
    public long remainingMs() {
        return Math.max(0, (untilNs - System.nanoTime()) / 1_000_000);
    }
}
