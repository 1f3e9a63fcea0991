/* The whole contract between the C core and Python: read by the C compiler and by cffi,
 * so it holds plain declarations and enums only. C files include it through base/abi.h. */

/* Raised with every change below that an older caller could misread. */
enum { CT_ABI_VERSION = 1 };

int ct_abi_version(void);

/* Failures of our own. Functions return 0 or a count, else -errno or one of these;
 * they lie below -3000, so the two never meet. */
enum ct_err {
    CT_E_MORE = -3001,       /* the input ends before the item does */
    CT_E_TOOBIG = -3002,     /* a length is above its limit */
    CT_E_MALFORMED = -3003,  /* bytes that no correct peer sends */
    CT_E_DEPTH = -3004,      /* nested deeper than allowed */
    CT_E_NOSPACE = -3005,    /* the caller's buffer is too small */
    CT_E_RANGE = -3006,      /* a value outside what its field may hold */
    CT_E_UNSUPPORTED = -3007,/* this host lacks what was asked for */
    CT_E_THREADS = -3008,    /* a fork server with more than one thread */
    CT_E_FULL = -3009,       /* every slot of a bounded table is taken */
    CT_E_TIMEOUT = -3010,    /* the deadline passed first */
    CT_E_DIED = -3011,       /* the child ended before its sandbox was complete */
    CT_E_TLS = -3040,          /* a handshake that fails, or a record that is not genuine */
    CT_E_TLS_CUT = -3041,      /* the peer's end of the stream came without its close_notify */
    CT_E_CERT_EXPIRED = -3042, /* the peer's certificate is out of its time */
    CT_E_CERT_NAME = -3043,    /* it is for another host */
    CT_E_CERT_UNKNOWN = -3044, /* it is not signed by an authority that we trust */
    CT_E_CERT_MISSING = -3045, /* the peer showed none, and must */
    CT_E_CERT_REFUSED = -3046  /* the peer does not accept ours, or wants one that we have not */
};

/* One line of text for an enum ct_err or -errno; never NULL. */
const char *ct_strerror(int code);

/* ---- proto/frame.c: 12-byte header (u32 length, u8 kind, u8 flags, u16 zero, u32 call_id; big-endian), body ---- */

enum { CT_FRAME_HEADER_BYTES = 12, CT_EXEC_HEAD_BYTES = 48 };

/* Who sends which, and with what body: proto/agent.proto. */
enum ct_frame_kind {
    CT_FRAME_HELLO = 1,
    CT_FRAME_INIT = 2,
    CT_FRAME_READY = 3,
    CT_FRAME_EXEC = 4,
    CT_FRAME_RESULT = 5,
    CT_FRAME_ERROR = 6,
    CT_FRAME_CHUNK = 7,
    CT_FRAME_LOG = 8,
    CT_FRAME_CANCEL = 9,
    CT_FRAME_PING = 10,
    CT_FRAME_PONG = 11,
    CT_FRAME_STOP = 12
};

typedef struct ct_frame {
    uint8_t kind;
    uint8_t flags;
    uint32_t call_id;
    const uint8_t *body; /* borrows the input */
    size_t len;          /* of the body */
    size_t used;         /* header and body */
} ct_frame;

/* Returns 0, CT_E_MORE, CT_E_TOOBIG (body above limit) or CT_E_MALFORMED (reserved bits set). */
int ct_frame_split(const uint8_t *buf, size_t len, size_t limit, ct_frame *out);

/* Splits up to cap whole frames off buf. Returns how many; *used is the bytes they took.
 * A bad header is reported only when it is the first: what precedes it is delivered before. */
int ct_frame_scan(const uint8_t *buf, size_t len, size_t limit, ct_frame *out, size_t cap, size_t *used);

/* Writes the header alone; out holds CT_FRAME_HEADER_BYTES. Returns 0 or CT_E_TOOBIG (body_len above 32 bits). */
int ct_frame_put(uint8_t *out, uint8_t kind, uint8_t flags, uint32_t call_id, size_t body_len);

typedef struct ct_exec_head {
    uint8_t request_id[16];
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint32_t remaining_ms;
    uint32_t flags;
} ct_exec_head;

/* The first CT_EXEC_HEAD_BYTES of an exec body. Get returns 0 or CT_E_MORE. */
int ct_exec_head_get(const uint8_t *buf, size_t len, ct_exec_head *out);
void ct_exec_head_put(uint8_t *out, const ct_exec_head *head);

/* ---- proto/json_check.c ---- */

enum { CT_JSON_DEPTH_MAX = 1024 };

/* Returns 0 when buf is exactly one RFC 8259 value in valid UTF-8, else CT_E_MALFORMED, or CT_E_DEPTH
 * (nested deeper than max_depth, which is at most CT_JSON_DEPTH_MAX). Allocates nothing. */
int ct_json_check(const uint8_t *buf, size_t len, uint32_t max_depth);

/* ---- sandbox/plan.c: everything a sandbox is ---- */

enum {
    CT_PLAN_BYTES_MAX = 65536,
    CT_PLAN_ENTRIES_MAX = 64,
    CT_PLAN_ARGS_MAX = 64,
    CT_PLAN_ENV_MAX = 128,
    CT_PLAN_CGROUPS_MAX = 8,
    CT_PATH_BYTES = 1024 /* the longest path in a plan, its NUL included */
};

/* What stands in the sandbox's root, made in the order given; missing parent directories are made 0755. */
enum ct_entry_kind {
    CT_ENTRY_BIND = 1,   /* source, a host file or directory, at target: nosuid, nodev, read-only */
    CT_ENTRY_DEVICE = 2, /* source, a host device node, at target */
    CT_ENTRY_LINK = 3,   /* a symbolic link at target with source as its text */
    CT_ENTRY_FILE = 4,   /* a file of that mode with source as its contents */
    CT_ENTRY_DIR = 5,    /* a directory of that mode */
    CT_ENTRY_TMPFS = 6,  /* a writable tmpfs of at most size_bytes and inodes */
    CT_ENTRY_PROC = 7    /* a fresh read-only /proc without the files that tell of the host */
};

enum ct_entry_flag {
    CT_ENTRY_OPTIONAL = 1, /* bind, device: nothing happens when the source does not exist */
    CT_ENTRY_NOEXEC = 2    /* bind, tmpfs: nothing on it can be executed */
};

typedef struct ct_entry {
    uint32_t kind;
    uint32_t flags;
    uint32_t mode;
    uint32_t inodes;
    uint64_t size_bytes;
    const char *target;
    const char *source;
} ct_entry;

enum ct_plan_flag {
    CT_PLAN_NO_SHARED_MEMORY = 1 /* refuse shmget and memfd_create: where no cgroup counts their pages */
};

/* Strings are borrowed; none is NULL after decoding, "" means none. Zero in a limit means "leave as it is". */
typedef struct ct_plan {
    uint32_t flags;
    uint32_t host_uid; /* never 0: RLIMIT_NPROC does not bind it */
    uint32_t host_gid;
    uint32_t inside_uid;
    uint32_t inside_gid;
    uint32_t setup_ms; /* longest time from fork to a complete sandbox */
    uint64_t open_files;
    uint64_t processes;
    uint64_t file_bytes;
    uint64_t address_space_bytes;
    const char *hostname;
    const char *workdir;
    const char *cgroup_dir; /* cgroup v2 directory that the child is born in */
    uint32_t task_file_count;
    uint32_t entry_count;
    uint32_t argc; /* 0 for a fork server that returns into its interpreter */
    uint32_t envc;
    const char *task_files[CT_PLAN_CGROUPS_MAX]; /* cgroup v1 `tasks` files that the child joins */
    ct_entry entries[CT_PLAN_ENTRIES_MAX];
    const char *argv[CT_PLAN_ARGS_MAX + 1];
    const char *env[CT_PLAN_ENV_MAX + 1];
} ct_plan;

/* Returns the encoded length or CT_E_NOSPACE, CT_E_TOOBIG, CT_E_RANGE, CT_E_MALFORMED. */
int ct_plan_encode(const ct_plan *plan, uint8_t *out, size_t cap);

/* Returns 0 or CT_E_MORE, CT_E_TOOBIG, CT_E_RANGE, CT_E_MALFORMED. out borrows buf. */
int ct_plan_decode(const uint8_t *buf, size_t len, ct_plan *out);

/* ---- sandbox/zygote.c: what passes over its control socket (SOCK_SEQPACKET), host byte order ----
 * Request: u32 ticket, then an encoded plan; with it the descriptors [channel, stdio].
 * Answer: one ct_zygote_note; a note CT_NOTE_SPAWNED with status 0 carries the child's pidfd. */

/* Where a spawn stood when it failed. */
enum ct_step {
    CT_STEP_NONE = 0,
    CT_STEP_REQUEST = 1,
    CT_STEP_CLONE = 2,
    CT_STEP_IDMAP = 3,
    CT_STEP_SESSION = 4,
    CT_STEP_CGROUP = 5,
    CT_STEP_SOURCE = 6,
    CT_STEP_IDENTITY = 7,
    CT_STEP_ROOT = 8,
    CT_STEP_ENTRY = 9,
    CT_STEP_NETWORK = 10,
    CT_STEP_HOSTNAME = 11,
    CT_STEP_DESCRIPTORS = 12,
    CT_STEP_LIMITS = 13,
    CT_STEP_PRIVILEGES = 14,
    CT_STEP_SECCOMP = 15,
    CT_STEP_EXEC = 16
};

/* The step's name, one word; "unknown" outside the enum. */
const char *ct_step_name(uint32_t step);

enum ct_note_kind {
    CT_NOTE_SPAWNED = 1, /* the answer to a request; status 0: the isolation is complete */
    CT_NOTE_EXITED = 2,  /* pid has ended: exit_code, or signal when that is not 0 */
    CT_NOTE_READY = 3    /* the server takes requests, or why it can not (status) */
};

enum { CT_NOTE_PATH_BYTES = 232, CT_ZYGOTE_CHILDREN_MAX = 4096 };

typedef struct ct_zygote_note {
    uint32_t kind;
    uint32_t ticket;
    int32_t pid;
    int32_t status;
    uint32_t step;
    int32_t exit_code;
    int32_t signal;
    char path[CT_NOTE_PATH_BYTES];
} ct_zygote_note;

/* ---- sandbox/cgroup.c ---- */

enum ct_cgroup_version { CT_CGROUP_NONE = 0, CT_CGROUP_V1 = 1, CT_CGROUP_V2 = 2 };

/* Where this host lets us make cgroups. A directory is "" where its version is CT_CGROUP_NONE;
 * cpu_account is where v1 counts CPU time (v2 counts it in cpu). */
typedef struct ct_cgroup_host {
    uint32_t memory;
    uint32_t cpu;
    uint32_t cpu_account;
    uint32_t pids;
    char memory_dir[CT_PATH_BYTES];
    char cpu_dir[CT_PATH_BYTES];
    char cpu_account_dir[CT_PATH_BYTES];
    char pids_dir[CT_PATH_BYTES];
    char unified_dir[CT_PATH_BYTES]; /* v2 parent of our leaves; "" without any v2 controller */
} ct_cgroup_host;

/* Finds each controller and makes `group` (one name) below it, v2 controllers switched on for its children.
 * A controller that cannot be used is CT_CGROUP_NONE, not a failure. Returns 0 or -errno (no /proc). */
int ct_cgroup_detect(const char *group, ct_cgroup_host *out);

typedef struct ct_cgroup_limits { /* 0 is no limit */
    uint64_t memory_bytes;
    uint64_t processes;
    uint32_t cpu_millis; /* thousandths of one core */
} ct_cgroup_limits;

typedef struct ct_cgroup_usage {
    uint64_t memory_bytes;
    uint64_t memory_peak_bytes;
    uint64_t cpu_us;
    uint64_t processes;
    uint64_t oom_kills; /* since the leaf was made */
} ct_cgroup_usage;

/* A leaf is a name below each of the host's directories. Create takes over one that exists.
 * Kill sends SIGKILL to all in it and returns how many were seen; remove returns -EBUSY while one is left. */
int ct_leaf_create(const ct_cgroup_host *host, const char *name);
int ct_leaf_limit(const ct_cgroup_host *host, const char *name, const ct_cgroup_limits *limits);
int ct_leaf_usage(const ct_cgroup_host *host, const char *name, ct_cgroup_usage *out);
int ct_leaf_kill(const ct_cgroup_host *host, const char *name);
int ct_leaf_remove(const ct_cgroup_host *host, const char *name);

/* ---- reactor/reactor.c: the C core's part in Python's loop ----
 * The loop watches ct_reactor_fd for reading and calls ct_reactor_drain, which never blocks. */

typedef struct ct_reactor ct_reactor;

/* NULL: no memory, or no descriptor left. Free it after everything that was made with it. */
ct_reactor *ct_reactor_new(void);
void ct_reactor_free(ct_reactor *reactor);
int ct_reactor_fd(const ct_reactor *reactor);

/* Something that Python must hear. `kind` says whose the other fields are; each part of the core has its block of kinds. */
typedef struct ct_event {
    uint32_t kind;
    int32_t status;
    uint64_t target;  /* handle of what it is about */
    uint64_t subject; /* a second handle, or a number */
    uint32_t number;
    uint32_t flags;
    uint8_t *data; /* owned by the event, or NULL */
    size_t len;
} ct_event;

/* Handles what is ready. Returns how many events wait for Python, or -errno. */
int ct_reactor_drain(ct_reactor *reactor);

/* Takes up to cap events, oldest first; each is given back by ct_event_done once its data is copied. */
size_t ct_reactor_take(ct_reactor *reactor, ct_event *out, size_t cap);
void ct_event_done(ct_event *event);

/* ---- reactor/tls_context.c: TLS of connections, by OpenSSL (1.2 and 1.3). Files, renewal and policy are Python's ---- */

typedef struct ct_tls ct_tls;

enum ct_tls_role { CT_TLS_SERVER = 1, CT_TLS_CLIENT = 2 };
enum ct_tls_protocol { CT_TLS_HTTP1 = 1, CT_TLS_H2 = 2 }; /* what ALPN says; a peer without ALPN is served */

enum { CT_TLS_IDENTITIES_MAX = 1024, CT_TLS_PEM_BYTES_MAX = 1048576, CT_TLS_NAME_BYTES = 256 };

/* A certificate with what signs it, and its private key; PEM, borrowed. */
typedef struct ct_tls_identity {
    const char *host; /* server: whom it is for, in lower case; "*.rest" is any one label before rest. The first one's is not read */
    const uint8_t *chain;
    size_t chain_len;
    const uint8_t *key;
    size_t key_len;
} ct_tls_identity;

typedef struct ct_tls_settings {
    uint32_t role;
    uint32_t protocol;
    uint32_t handshake_ms; /* from the connection's begin to the end of the handshake */
    uint32_t ticket_s;     /* server: how long a session can be resumed; 0: no tickets */
    const ct_tls_identity *identities; /* server: the first one is for every host without its own; client: none or one */
    size_t identity_count;
    const uint8_t *authorities; /* PEM. Server: clients must show a certificate that one of them signed; client: who may have
                                   signed the server's. NULL: ask for none; the system's authorities */
    size_t authorities_len;
    const char *server_name; /* client: host or IP address that the server's certificate must be for */
} ct_tls_settings;

enum ct_tls_part { CT_TLS_PART_CHAIN = 1, CT_TLS_PART_KEY = 2, CT_TLS_PART_AUTHORITIES = 3 };
enum ct_tls_flaw {
    CT_TLS_FLAW_ABSENT = 1,   /* no PEM of that kind in it */
    CT_TLS_FLAW_BROKEN = 2,   /* PEM that can not be read */
    CT_TLS_FLAW_LOCKED = 3,   /* a key with a passphrase */
    CT_TLS_FLAW_MISMATCH = 4, /* a key of another certificate */
    CT_TLS_FLAW_REFUSED = 5   /* OpenSSL does not want it: too weak, say */
};

/* What is wrong with the settings. */
typedef struct ct_tls_fault {
    uint32_t part;
    uint32_t flaw;
    uint32_t identity; /* its place in the list */
    char reason[120];  /* OpenSSL's word, "" without one */
} ct_tls_fault;

/* Copies everything. Returns 0, -ENOMEM, CT_E_RANGE (a number, a count, a name), CT_E_TOOBIG or CT_E_MALFORMED, which is when
 * *fault says more. */
int ct_tls_new(const ct_tls_settings *settings, ct_tls **out, ct_tls_fault *fault);

/* New connections have the new settings, those that are there keep theirs. Role and protocol stay. Errors as above; the old
 * settings hold then. */
int ct_tls_replace(ct_tls *tls, const ct_tls_settings *settings, ct_tls_fault *fault);

/* Connections that it secured may outlive it. */
void ct_tls_free(ct_tls *tls);

/* A handshake that failed for what the peer is or said, not one that it gave up: `status` is the error, `flags` our role, the
 * data OpenSSL's word. */
enum ct_tls_event { CT_EVENT_TLS_REFUSED = 900 };

/* When the first certificate of a PEM text is valid, in seconds since 1970. Returns 0, -ENOMEM or CT_E_MALFORMED. */
int ct_tls_validity(const uint8_t *chain, size_t len, int64_t *from_s, int64_t *until_s);

/* ---- edge/: zenith's HTTP/1.1 listeners ----
 * Each request that C does not answer itself goes to an HTTP server on a unix socket of this process, with a header
 * Constellation-Peer: "CLIENT PORT SERVER PORT HANDLE direct|proxied" (the connection's real ends; whether the client sent
 * Forwarded, X-Forwarded-* or Via, the first two of which are taken out, as is any Constellation-*). */

typedef struct ct_edge ct_edge;

enum { CT_EDGE_SLOTS = 32, CT_EDGE_CODES = 48, CT_EDGE_CODE_BYTES = 48 };

/* What it refuses by itself. Python says with what (ct_edge_problem), so every text has one place. */
enum ct_edge_refusal {
    CT_EDGE_MALFORMED,      /* 400 */
    CT_EDGE_SLOW,           /* 408: a head that does not come to its end */
    CT_EDGE_LARGE,          /* 413: a length of more than 18 digits */
    CT_EDGE_TARGET,         /* 414 */
    CT_EDGE_EXPECTATION,    /* 417 */
    CT_EDGE_FIELDS,         /* 431 */
    CT_EDGE_CODING,         /* 501 */
    CT_EDGE_UPSTREAM,       /* 502: our own HTTP server is gone */
    CT_EDGE_OVERLOADED,     /* 503: too many requests in hand */
    CT_EDGE_VERSION,        /* 505 */
    CT_EDGE_NOT_JSON,       /* 400: the body of a call */
    CT_EDGE_BODY_SLOW,      /* 408: a body that does not come to its end */
    CT_EDGE_BODIES,         /* 503: too many bytes of bodies in memory */
    CT_EDGE_CALLS,          /* 503: too many calls on their way to comet */
    CT_EDGE_COMET,          /* 503: comet can not be reached, or went away in the middle */
    CT_EDGE_LATE,           /* 504: comet gave no answer in the call's time */
    CT_EDGE_GRPC,           /* and above by gRPC's status, 1 to 16: comet refused without a problem of its own */
    CT_EDGE_REFUSALS = CT_EDGE_GRPC + 17
};

typedef struct ct_edge_settings {
    const char *upstream; /* path of the unix socket; copied */
    uint64_t idle_ns;     /* how long a connection may be quiet, and a head may take */
    uint32_t inflight_max;
    uint32_t connections_max;
    uint64_t bodies_max;  /* bytes of all bodies that are being gathered */
} ct_edge_settings;

typedef struct ct_edge_counts {
    uint32_t inflight;    /* requests in hand, whoever answers them */
    uint32_t connections;
    uint64_t forwarded;
    uint64_t refused[CT_EDGE_REFUSALS];
    uint64_t called;      /* calls that were answered without Python */
    uint64_t held_bytes;  /* bodies that are being gathered */
    uint64_t lookups;     /* of callers, found */
    uint64_t answered[6]; /* calls answered, by the first digit of their status; 0: the client left before */
    uint64_t slots[CT_EDGE_SLOTS]; /* the same by duration: up to each bound, and above the last */
    uint64_t sum_ns;
} ct_edge_counts;

/* Problems of comet's that were passed on, by their code. */
typedef struct ct_edge_code {
    char code[CT_EDGE_CODE_BYTES];
    uint64_t count;
} ct_edge_code;

/* How calls of functions are answered without Python: by gRPC to comet. */
typedef struct ct_edge_lane {
    const char *comet; /* a numeric address */
    uint16_t port;
    const char *authorization; /* metadata of each call */
    uint32_t calls_max;
    uint64_t max_timeout_ns;
    uint64_t grace_ns;    /* comet's answer may be so much later than the call's own time */
    uint64_t read_ns;     /* how long a body may take */
    uint64_t body_max;
    const uint64_t *bounds_ns; /* of durations, rising */
    uint32_t bound_count; /* at most CT_EDGE_SLOTS - 1 */
    ct_tls *tls;          /* of comet's port, a client's for HTTP/2 that outlives the edge; NULL: in the clear */
} ct_edge_lane;

/* Returns NULL without memory, or when the path is too long for a socket. */
ct_edge *ct_edge_new(ct_reactor *reactor, const ct_edge_settings *settings);

/* `problem` is a JSON object, to which the request id is added; `fields` are whole header lines, each with CRLF. Both are
 * copied. Returns 0, CT_E_RANGE or -ENOMEM. Every refusal has one before anybody connects. */
int ct_edge_problem(ct_edge *edge, uint32_t refusal, uint32_t status, const uint8_t *problem, size_t problem_len,
                    const char *fields);

/* Every connection from now on speaks TLS. `tls` is a server's, for HTTP/1.1, and outlives the edge. */
void ct_edge_secure(ct_edge *edge, ct_tls *tls);

/* Accepts from a listening, non-blocking socket, which stays the caller's. Returns 0, CT_E_FULL (8 listeners) or -errno. */
int ct_edge_listen(ct_edge *edge, int fd);

/* Everything is copied. Returns 0, CT_E_RANGE (no numeric address, too many bounds) or -ENOMEM. Once. */
int ct_edge_call(ct_edge *edge, const ct_edge_lane *lane);

/* A caller that may invoke, and the token that says so. `key`: 'k' and the value of X-API-Key, or 'a' and that of Authorization, or 'l'
 * alone for a trusted local caller; then NUL, the value of X-Nova-Tenant, NUL, that of X-Nova-Namespace. From renew_ns (monotonic)
 * on a call in a while is forwarded, so that Python learns what is new; from until_ns on the entry is of no use. Returns 0,
 * CT_E_TOOBIG or -ENOMEM. */
int ct_edge_learn(ct_edge *edge, const uint8_t *key, size_t key_len, const uint8_t *token, size_t token_len,
                  uint64_t renew_ns, uint64_t until_ns);
void ct_edge_forget(ct_edge *edge); /* all of them */

/* Until when what was learnt may be used, unless something newer is heard from nova. */
void ct_edge_fresh(ct_edge *edge, uint64_t until_ns);

/* The connection's peer is the trusted local user; requests of its with the same Host and without a sign of another hand
 * need no credential. A connection that is gone is no error. */
void ct_edge_trust(ct_edge *edge, uint64_t handle, const uint8_t *host, size_t host_len);

/* Adds to the bytes of bodies in memory, or takes off. Returns 0, or CT_E_FULL: they would be over bodies_max. */
int ct_edge_hold(ct_edge *edge, int64_t bytes);

/* Copies at most `cap` codes. Returns how many. */
size_t ct_edge_codes(const ct_edge *edge, ct_edge_code *out, size_t cap);

/* Accepts no more; quiet connections end now, the others behind the answer in hand. */
void ct_edge_stop(ct_edge *edge);
void ct_edge_counts_get(const ct_edge *edge, ct_edge_counts *out);

/* Ends every connection. Not from within a turn of the reactor. */
void ct_edge_free(ct_edge *edge);

/* ---- h2/server.c: comet's port. HTTP/2 in C; what C does not answer goes on to the gRPC server on a unix socket ---- */

typedef struct ct_h2_server ct_h2_server;

/* What has passed so far; connections and streams are those of now. */
typedef struct ct_h2_counts {
    uint64_t accepted;   /* connections */
    uint64_t turned_away; /* connections above the bound */
    uint64_t faulted;    /* connections closed for what they sent, or did not */
    uint64_t taken;      /* streams answered in C */
    uint64_t forwarded;  /* streams passed on */
    uint64_t unserved;   /* streams that the upstream could not be reached for */
    uint64_t cancelled;  /* streams that the client gave up */
    uint32_t connections;
    uint32_t streams;
    uint32_t upstreams;  /* connections to the gRPC server */
    uint64_t held_bytes; /* bodies that wait here */
} ct_h2_counts;

/* Serves on fd (listening, non-blocking; it stays the caller's) and passes every stream on to the unix socket `upstream`. NULL: no memory,
 * a path that is too long, or an fd that can not be watched. CT_EVENT_H2_STOPPED carries `target`. */
ct_h2_server *ct_h2_server_open(ct_reactor *reactor, int fd, const char *upstream, uint64_t target);

/* Every connection from now on speaks TLS. `tls` is a server's, for HTTP/2, and outlives this one. */
void ct_h2_server_secure(ct_h2_server *server, ct_tls *tls);

/* Accepts nothing more, finishes what is in hand for at most that long, then emits CT_EVENT_H2_STOPPED. */
void ct_h2_server_stop(ct_h2_server *server, uint32_t within_ms);

/* Cuts what is left. Not from within the reactor's turn. */
void ct_h2_server_close(ct_h2_server *server);

void ct_h2_server_count(const ct_h2_server *server, ct_h2_counts *out);

enum ct_h2_event { CT_EVENT_H2_STOPPED = 400 };
