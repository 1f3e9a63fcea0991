/* The whole contract between the C core and Python: read by the C compiler and by cffi,
 * so it holds plain declarations and enums only. C files include it through base/abi.h. */

/* Raised with every change below that an older caller could misread. */
enum { CT_ABI_VERSION = 3 };

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
    CT_FRAME_STOP = 12,
    CT_FRAME_ASK = 13,
    CT_FRAME_REPLY = 14
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

/* ---- proto/handler_error.c ---- */

/* Returns 0 when buf is such a value and an object with the texts `type`, `message` and perhaps `stack`; no surrogate escape
 * in it stands alone. Else CT_E_MALFORMED or CT_E_DEPTH. */
int ct_handler_error_check(const uint8_t *buf, size_t len, uint32_t max_depth);

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
    CT_ENTRY_PROC = 7,   /* a fresh read-only /proc without the files that tell of the host */
    CT_ENTRY_PTS = 8,    /* a fresh devpts: terminals of the sandbox's own */
    /* source, a host directory, at target: nosuid, nodev, noexec, and read-only unless CT_ENTRY_WRITABLE; files of
     * CT_VOLUME_ID are the sandbox's own there (volume.c) */
    CT_ENTRY_VOLUME = 9
};

/* Chosen: whom the files of volumes belong to on the disk, so that no sandbox's id outlives it; nobody's else */
enum { CT_VOLUME_ID = 65533 };

enum ct_entry_flag {
    CT_ENTRY_OPTIONAL = 1, /* bind, device: nothing happens when the source does not exist */
    CT_ENTRY_NOEXEC = 2,   /* bind, tmpfs: nothing on it can be executed */
    CT_ENTRY_WRITABLE = 4  /* volume */
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
    CT_PLAN_NO_SHARED_MEMORY = 1, /* refuse shmget and memfd_create: where no cgroup counts their pages */
    /* It preloads and forks: may clone into fresh namespaces below its own (branch.h), with CAP_SYS_ADMIN and
     * CAP_SETPCAP of its own user namespace and nothing else that an instance may not */
    CT_PLAN_NURSERY = 2,
    CT_PLAN_ALONE = 4 /* no other sandbox will have its root: nothing of it is kept for one */
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
 * Request: a ct_request_head, then an encoded plan, and with it the descriptors [channel, stdio]; or a ct_claim, which has
 * no descriptors and begins with a number that no plan begins with; or a ct_furnish with the descriptor [pidfd].
 * Answer: one ct_zygote_note; a note CT_NOTE_SPAWNED with status 0 carries the child's pidfd. */

/* Whose code a sandbox runs: any other number is a tenant. The network namespace of one that has ended serves the same
 * tenant again, one in which nobody's code has run serves whoever comes next. */
enum ct_tenant {
    CT_TENANT_NOBODY = 0, /* of a plan: nobody's, until it is claimed */
    CT_TENANT_UNKNOWN = 1 /* somebody's: nobody gets what it leaves */
};

typedef struct ct_request_head {
    uint32_t ticket;
    uint32_t tenant; /* of a plan and of a claim */
} ct_request_head;

enum { CT_CLAIM_MAGIC = 0x324D4C43 }; /* "CLM2" */

/* Makes a sandbox that waits, and has run nobody's code yet, one function's: code_dir is mounted read-only on /code,
 * which is an empty directory until then, and likewise, unless they are empty, layers_dir on /opt and sockets_dir on
 * /run/db; a limit of 0 stays as it is. */
typedef struct ct_claim {
    uint32_t magic;
    int32_t pid; /* as CT_NOTE_SPAWNED gave it, by the same server */
    uint64_t processes; /* of its first process alone: what that has started keeps the plan's */
    uint64_t address_space_bytes;
    uint64_t tmp_bytes; /* of the tmpfs on /tmp and on /dev/shm */
    uint64_t shm_bytes;
    char code_dir[CT_PATH_BYTES]; /* on the host */
    char layers_dir[CT_PATH_BYTES];
    char sockets_dir[CT_PATH_BYTES]; /* likewise */
} ct_claim;

enum { CT_FURNISH_MAGIC = 0x314E5246 }; /* "FRN1" */

/* Gives a child that a nursery has cloned what it may not make itself: a /proc of its own, empty tmpfs on /tmp and
 * /dev/shm, a loopback that is up. */
typedef struct ct_furnish {
    uint32_t magic;
    uint32_t inodes; /* of each tmpfs */
    uint64_t tmp_bytes;
    uint64_t shm_bytes;
} ct_furnish;

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
    CT_STEP_EXEC = 16,
    CT_STEP_CODE = 17
};

/* The step's name, one word; "unknown" outside the enum. */
const char *ct_step_name(uint32_t step);

enum ct_note_kind {
    CT_NOTE_SPAWNED = 1, /* the answer to a request; status 0: the isolation is complete */
    CT_NOTE_EXITED = 2,  /* pid has ended: exit_code, or signal when that is not 0 */
    CT_NOTE_READY = 3,   /* the server takes requests, or why it can not (status) */
    CT_NOTE_CLAIMED = 4  /* the answer to a claim and to a ct_furnish; below 0 the sandbox must be ended */
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
int ct_leaf_oom_kills(const ct_cgroup_host *host, const char *name, uint64_t *out); /* of usage, what is cheap to read */
int ct_leaf_kill(const ct_cgroup_host *host, const char *name);
int ct_leaf_remove(const ct_cgroup_host *host, const char *name);

/* ---- reactor/reactor.c: the C core's part in Python's loop ----
 * The loop watches ct_reactor_fd for reading and calls ct_reactor_drain, which never blocks, and nothing of Python's around it.
 * It watches ct_reactor_bell_fd for what Python must hear. */

typedef struct ct_reactor ct_reactor;

/* NULL: no memory, or no descriptor left. Free it after everything that was made with it. */
ct_reactor *ct_reactor_new(void);
void ct_reactor_free(ct_reactor *reactor);
int ct_reactor_fd(const ct_reactor *reactor);

/* Readable when a drain has left events to take, until all are taken, or has failed. */
int ct_reactor_bell_fd(const ct_reactor *reactor);

/* 0, or the -errno of the last drain that failed. */
int ct_reactor_failure(const ct_reactor *reactor);

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
/* What ALPN says; a peer without ALPN is served. Either: a server's, HTTP/2 for whom knows it. */
enum ct_tls_protocol { CT_TLS_HTTP1 = 1, CT_TLS_H2 = 2, CT_TLS_EITHER = 3 };

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

/* ---- link/: the host's end of the guest protocol; one ct_link an instance ---- */

enum {
    CT_LINK_FRAME_MAX = 6 << 20,   /* body of a worker's frame: the platform's limit for a synchronous answer */
    CT_LINK_ERROR_MAX = 256 << 10, /* body of an error frame; our workers stay below 64 KiB */
    CT_LINK_PAYLOAD_MAX = 64 << 20, /* of a call; the functions' own limits are far below */
    CT_LINK_JSON_DEPTH = 512,      /* of an answer: deeper than any honest document, shallower than any parser's stack */
    CT_LINK_ASKS_MAX = 64,         /* asks of one worker that wait for their reply; at this many it is not read on */
    CT_LINK_ASK_BYTES_MAX = 8 << 20 /* or at this many bytes of them */
};

/* Events; `target` is the link's handle. */
enum ct_link_event {
    CT_LINK_HELLO = 200,    /* data: the message */
    CT_LINK_READY = 201,    /* data: the message */
    CT_LINK_ENDED = 202,    /* a call of ct_link_call; subject: its id, number: enum ct_end, flags 1: its log is cut;
                               data: ct_link_answer, log, body, pieces that were not taken; all left out: no memory for it */
    CT_LINK_PIECE = 203,    /* subject: the id of a stream that has something to take again */
    CT_LINK_HUNG_UP = 204,  /* number: enum ct_cause; subject: the call id or kind that it is about; status: a bad frame's */
    CT_LINK_GIVEN_UP = 205, /* a call was given up in C, by its deadline too; the worker has it still; subject: its id */
    CT_LINK_ASKED = 206     /* the worker asks for something in a call; subject: its id, flags 1: somebody waits for the call;
                               data: ct_link_asked, chain, body; answered by one ct_link_reply */
};

enum ct_end {
    CT_END_RESULT = 1,  /* body: JSON, or empty for a stream */
    CT_END_ERROR = 2,   /* the handler raised; body: {type, message, stack} */
    CT_END_INVALID = 3, /* the answer is not JSON, or an error without its shape */
    CT_END_TIMEOUT = 4,
    CT_END_DIED = 5     /* the link was ended; body: why */
};

/* Why a worker is not spoken to any more. */
enum ct_cause {
    CT_CAUSE_CLOSED = 0, /* it closed its end */
    CT_CAUSE_FRAME = 1,
    CT_CAUSE_ANSWER = 2, /* an answer to no call in hand, or an error above its bound */
    CT_CAUSE_LOG = 3,    /* a log of a call that never was */
    CT_CAUSE_PIECE = 4,  /* a piece of what is not a stream in hand */
    CT_CAUSE_KIND = 5,   /* a kind that is not expected now */
    CT_CAUSE_CHATTER = 6, /* more log than the limit */
    CT_CAUSE_MEMORY = 7, /* ours ran out */
    CT_CAUSE_ASK = 8,    /* an ask in a call that never was */
    CT_CAUSE_STDIO = 9,  /* it holds the pipe of its output, so that it can not be read */
    CT_CAUSE_RIGHTS = 10 /* it sent descriptors */
};

typedef struct ct_link_answer {
    uint64_t duration_ns;
    uint32_t log_len;
    uint32_t body_len;
} ct_link_answer;

/* Whence the call came in which the worker asks: what the host knows, not what the worker says. */
typedef struct ct_link_asked {
    uint64_t until_ns;  /* the call's deadline; 0: it has ended */
    uint32_t depth;     /* of a call of the lane; Python knows its own */
    uint32_t chain_len; /* its functions, joined by commas, outermost first */
    uint8_t trace_id[16];
    uint8_t span_id[8];
} ct_link_asked;

typedef struct ct_link ct_link;

/* The links of one reactor by handle; freed after the last of them. NULL: no memory. */
typedef struct ct_links ct_links;
ct_links *ct_links_new(ct_reactor *reactor);
void ct_links_free(ct_links *links);

typedef struct ct_link_settings {
    uint32_t log_limit; /* bytes a call */
    uint32_t is_alone;  /* one call at a time: one that is given up is not told to the worker, whose end follows */
} ct_link_settings;

/* Takes over both descriptors, non-blocking: the worker's socket and the reading end of its stdio. Returns 0 and *out, or -errno. */
int ct_link_open(ct_links *links, int fd, int stdio_fd, const ct_link_settings *settings, ct_link **out);

/* The page that a worker on this host shares with us, so that small frames need no socket; and the descriptor that it rings
 * us by. Both are for the worker: given to its sandbox, then sealed, before any code of a function runs there. */
typedef struct ct_mail ct_mail;
int ct_mail_new(ct_mail **out);
int ct_mail_page_fd(const ct_mail *mail); /* a memfd of one page; -1 once sealed */
int ct_mail_bell_fd(const ct_mail *mail); /* an eventfd */
int ct_mail_seal(ct_mail *mail);          /* the worker has mapped it, and stays where it is */
void ct_mail_free(ct_mail *mail);

/* Takes over the page of the link's worker, which has sent nothing by it yet. Returns 0, or -errno with the page freed. */
int ct_link_share(ct_link *link, ct_mail *mail);

/* Index and generation: what names the link where it may have ended meanwhile. Never 0. */
uint64_t ct_link_handle(const ct_link *link);

/* Closes both, ends every call in hand with CT_END_DIED and the cause as its body, and frees the link. */
void ct_link_free(ct_link *link, const uint8_t *cause, size_t len);

/* Sends the init frame: from now on a ready frame is expected. */
int ct_link_init(ct_link *link, const uint8_t *message, size_t len);

/* Sends a call. Ids of 16, 16 and 8 bytes. Returns its id, from 1, or -ENOMEM, -EMSGSIZE. CT_LINK_ENDED tells of its end, once. */
int64_t ct_link_call(ct_link *link, const uint8_t *request_id, const uint8_t *trace_id, const uint8_t *span_id,
                     const uint8_t *payload, size_t len, uint64_t timeout_ns, int is_stream);

/* The oldest piece of a stream: returns its length and lends it until the next call on this link, or 0: nothing now. */
size_t ct_link_take(ct_link *link, uint32_t call_id, const uint8_t **out);

/* Gives a call up: no event of it comes any more. Returns 1, or 0 when it has ended. */
int ct_link_cancel(ct_link *link, uint32_t call_id);

/* Answers an ask whose body had asked_len bytes. A worker that can not be told for want of memory is hung up on. */
void ct_link_reply(ct_link *link, uint32_t call_id, const uint8_t *body, size_t len, size_t asked_len);

/* Calls that the worker has, those without a caller included. */
uint32_t ct_link_in_hand(const ct_link *link);

/* The last bytes that were said outside of the protocol: in the only call in hand, else between calls. Returns how many,
 * at most cap; *is_cut (may be NULL) tells whether that log is. */
size_t ct_link_last_words(ct_link *link, uint8_t *out, size_t cap, int *is_cut);

/* ---- table/: whatever counts or queues exists once, here ----
 * Pure: no I/O and no clock. `now_ns` is any clock that never goes back, the same one in every call. A handle is an index
 * (low CT_HANDLE_INDEX_BITS) plus a generation; 0 is none, and one of something that is no more gives -ESTALE, for ever.
 * All slots are made with the table, so nothing on a call's way allocates. */

typedef struct ct_table ct_table;

enum {
    CT_HANDLE_INDEX_BITS = 20,
    CT_CALL_DEPTH_MAX = 32,
    CT_CHAIN_NAMES_MAX = 64,
    CT_STATUS_MAX = 64,         /* statuses that are told apart */
    CT_METER_BUCKETS_MAX = 31,  /* of a histogram, the unbounded one not counted */
    CT_REFUSAL_BYTES_MAX = 65536,
    CT_TOKEN_BYTES_MAX = 4096,
    CT_KEY_BYTES_MAX = 512,     /* tenant, namespace, name or subject, each */
    CT_SOURCE_BYTES = 32
};

typedef struct ct_table_options {
    uint64_t hash_seed; /* results do not depend on it */
    uint64_t idle_ttl_ns;
    uint64_t recheck_ns; /* a waiter past its time in line looks again whether the boot that was to serve it goes on */
    uint32_t max_functions;
    uint32_t max_instances; /* of this node, from the decision to boot until the sandbox is gone */
    uint32_t max_boots;     /* at a time */
    uint32_t max_calls;     /* of this node in hand */
    uint32_t max_buckets;
    uint32_t max_identities;
    uint32_t max_records;
    uint32_t max_meters;
    uint32_t bucket_count; /* of the histograms; at most CT_METER_BUCKETS_MAX */
    const uint64_t *bucket_ns; /* their upper bounds, ascending; copied */
} ct_table_options;

/* NULL: no memory, or an option out of range. */
ct_table *ct_table_new(const ct_table_options *options);
void ct_table_free(ct_table *table);

/* Instances are booted only while it is open; it is made closed. */
void ct_table_open(ct_table *table, uint32_t is_open, uint64_t now_ns);

/* How a call ended or why it was refused: the problem's code in capitals. Numbers from CT_STATUS_FIRST_FREE on are the
 * caller's to name; the last one is what it has no number for. */
enum ct_status {
    CT_STATUS_OK = 0,
    CT_STATUS_FUNCTION_ERROR = 1,
    CT_STATUS_CANCELLED = 2,
    CT_STATUS_TIMEOUT = 3,
    CT_STATUS_INSTANCE_DIED = 4,
    CT_STATUS_OUTPUT_INVALID = 5,
    CT_STATUS_HANDLER_LOAD_FAILED = 6,
    CT_STATUS_SANDBOX_START_FAILED = 7,
    CT_STATUS_RUNTIME_UNAVAILABLE = 8,
    /* what the guard chain says, in its order */
    CT_STATUS_DRAINING = 9,
    CT_STATUS_OVERLOADED = 10,
    CT_STATUS_NOT_FOUND = 11,
    CT_STATUS_HALTED = 12,
    CT_STATUS_TENANT_SUSPENDED = 13,
    CT_STATUS_RECURSION = 14,
    CT_STATUS_PAYLOAD_TOO_LARGE = 15,
    CT_STATUS_RATE_LIMITED = 16,
    CT_STATUS_INFLIGHT_LIMIT = 17,
    CT_STATUS_BREAKER_OPEN = 18,
    CT_STATUS_QUEUE_FULL = 19,
    CT_STATUS_QUEUE_WAIT_TIMEOUT = 20,
    /* refused before they ran, by others than the chain */
    CT_STATUS_INVALID_REQUEST = 21,
    CT_STATUS_FORBIDDEN = 22,
    CT_STATUS_UNAUTHENTICATED = 23,
    /* of the chain, between the key's bucket and the in-flight limit: what the tenant's functions may in all */
    CT_STATUS_QUOTA_EXCEEDED = 24,
    CT_STATUS_TENANT_INFLIGHT_LIMIT = 25,
    CT_STATUS_TENANT_RATE_LIMITED = 26,
    CT_STATUS_FIRST_FREE = 27,
    CT_STATUS_OTHER = 63
};

/* Which of a refusal's wordings. */
enum ct_detail {
    CT_DETAIL_NONE = 0,
    CT_DETAIL_DEPTH = 1, /* recursion: the chain of calls is too long */
    CT_DETAIL_CYCLE = 2, /* recursion: the function is in the chain already */
    CT_DETAIL_INIT = 3,  /* timeout: while an instance was being made for the call */
    CT_DETAIL_WAIT = 4,  /* timeout: in line */
    CT_DETAIL_BOOT = 5,  /* whatever the boot that was to serve the call failed with */
    CT_DETAIL_DAY = 6,   /* quota: the day's, not the month's */
    CT_DETAIL_MEMORY = 7, /* quota: of memory, for one more instance */
    CT_DETAIL_CPU = 8    /* quota: of CPU, likewise */
};

/* A refusal and the facts that its wording needs; those that do not concern its code are 0. */
typedef struct ct_verdict {
    uint32_t code;   /* enum ct_status */
    uint32_t detail; /* enum ct_detail */
    uint32_t http_status;   /* shedding: what the function's policy chose */
    uint32_t retry_after_s; /* 0: none */
    uint64_t limit;  /* calls, bytes, levels, or ns: of waiting, or until it may be tried again */
} ct_verdict;

/* -- breakers: every function has one; a gateway's routes have their own -- */

enum ct_breaker_state { CT_BREAKER_CLOSED = 0, CT_BREAKER_OPEN = 1, CT_BREAKER_HALF_OPEN = 2 };

typedef struct ct_breaker_rule {
    uint64_t window_ns; /* whose calls are counted together */
    uint64_t open_ns;   /* it rests, before probes are let in */
    uint32_t error_percent; /* of a window's calls, that opens it; 0: it never opens */
    uint32_t min_samples;   /* a window with fewer never opens it */
    uint32_t probes;        /* at a time */
} ct_breaker_rule;

typedef struct ct_breaker ct_breaker;

/* What a call was let in with. */
typedef struct ct_breaker_pass {
    uint64_t epoch;
    uint64_t left_ns; /* refused: until probes are let in; 0 while they are out */
    uint32_t is_probe;
} ct_breaker_pass;

typedef struct ct_breaker_stats {
    uint64_t good; /* ends in the window */
    uint64_t bad;
    uint64_t left_ns; /* open: until probes are let in */
    uint64_t opened;  /* times in all */
    uint32_t state;   /* enum ct_breaker_state */
    uint32_t probes;  /* out */
} ct_breaker_stats;

/* A breaker that no function owns. Returns 0, CT_E_RANGE or -ENOMEM. */
int ct_breaker_new(const ct_breaker_rule *rule, ct_breaker **out);
void ct_breaker_free(ct_breaker *breaker);

/* Returns 0: the call is let in, and its pass is given back by ct_breaker_end whatever becomes of it; 1: it is not. */
int ct_breaker_admit(ct_breaker *breaker, uint64_t now_ns, ct_breaker_pass *out);

/* `status`: enum ct_status, of a call that had an instance; others say nothing, as any that is not one. */
void ct_breaker_end(ct_breaker *breaker, const ct_breaker_pass *pass, uint32_t status, uint64_t now_ns);

void ct_breaker_stats_get(const ct_breaker *breaker, uint64_t now_ns, ct_breaker_stats *out);

/* -- functions -- */

enum ct_function_flag {
    CT_FUNCTION_HALTED = 1,
    CT_FUNCTION_SUSPENDED = 2, /* its tenant is */
    CT_FUNCTION_KEPT = 4,      /* can be found by name, and stays when nothing is left of it */
    CT_FUNCTION_ISOLATED = 8,  /* an instance serves no second call; changes with the sandbox only */
    CT_FUNCTION_PINNED = 16,   /* a version beside the live one: only aliases lead to it */
    CT_FUNCTION_GUARDED = 32   /* who may call it is for Python to say: the lane takes no call of it */
};

typedef struct ct_function_row {
    const uint8_t *tenant; /* names are copied, and read only when the function is made */
    const uint8_t *space;
    const uint8_t *name;
    uint32_t tenant_len;
    uint32_t space_len;
    uint32_t name_len;
    uint32_t flags;
    uint64_t version;
    uint64_t max_payload_bytes;
    uint64_t timeout_ns; /* of one call */
    uint64_t max_queue_wait_ns;
    ct_breaker_rule breaker;
    uint32_t min_replicas;
    uint32_t max_replicas;
    uint32_t instance_concurrency;
    uint32_t max_inflight; /* 0: no limit */
    uint32_t max_queue_depth;
    uint32_t shed_status;
    uint32_t retry_after_s;
    uint32_t meter; /* where its calls are counted */
    uint32_t memory_mb; /* of one instance */
    uint32_t cpu_millis;
} ct_function_row;

/* Makes a function. One of the same name that was there is not found by it any more. Returns 0, CT_E_FULL, CT_E_TOOBIG,
 * CT_E_RANGE or -ENOMEM. */
int ct_function_put(ct_table *table, const ct_function_row *row, uint64_t now_ns, uint64_t *out);

/* Serves calls by the changed row from now on. is_same_sandbox: instances of the old row serve the new version; else idle
 * ones go, and busy ones once they have finished. The breaker is closed by a new sandbox, not by a new policy.
 * Returns 0, CT_E_RANGE or -ESTALE. */
int ct_function_update(ct_table *table, uint64_t function, const ct_function_row *row, uint32_t is_same_sandbox,
                       uint64_t now_ns);

/* It is deleted: its line is refused, nothing new is started. CT_EFFECT_DROP follows once nothing is left of it. */
int ct_function_remove(ct_table *table, uint64_t function, uint64_t now_ns);

/* Boots until it has `target` members or as many as it may, unless it is halted; as many at once as there is room for.
 * They expire as others do. Returns 0 or -ESTALE. */
int ct_function_prewarm(ct_table *table, uint64_t function, uint32_t target);

/* 0 when there is none of that name. */
uint64_t ct_function_find(const ct_table *table, const uint8_t *tenant, uint32_t tenant_len, const uint8_t *space,
                          uint32_t space_len, const uint8_t *name, uint32_t name_len);

/* -- tenants: what all functions of one may in all, and did -- */

typedef struct ct_tenant_row {
    double calls_per_s; /* 0: any number */
    double publishes_per_s; /* 0: any number */
    uint32_t calls_burst; /* 0: one second's worth, at least 1 */
    uint32_t publishes_burst;
    uint32_t max_inflight; /* 0: any number */
    uint64_t calls_until; /* no call is let in once its count, as ct_tenant_stats has it, is that; UINT64_MAX: never */
    uint64_t quota_ends_ns; /* when there will be more */
    uint32_t quota_detail;  /* enum ct_detail, of the refusal */
    uint32_t max_memory_mb; /* of all its instances and of what it holds beside them; 0: any */
    uint32_t max_cpu_millis;
} ct_tenant_row;

/* Limits a tenant from now on, whether it has functions yet or not; until then it has no limits. What it did stays
 * counted while it is told of, has functions or holds something beside them. Returns 0, CT_E_FULL, CT_E_TOOBIG or -ENOMEM. */
int ct_tenant_put(ct_table *table, const uint8_t *name, uint32_t name_len, const ct_tenant_row *row, uint64_t *out);
int ct_tenant_drop(ct_table *table, uint64_t tenant); /* it has no limits any more; 0 or -ESTALE */

typedef struct ct_tenant_stats {
    uint64_t tenant;
    uint64_t calls; /* let in, since the table got to know it */
    uint32_t inflight;
    uint32_t functions; /* that the table has of it, versions beside the live ones too */
    uint64_t memory_mb; /* of its instances, until they are gone, and of what it holds beside them */
    uint64_t cpu_millis;
} ct_tenant_stats;

int ct_tenant_stats_get(const ct_table *table, uint64_t tenant, ct_tenant_stats *out);

/* Of those that were told of, the ones whose calls grew since this listed them, after `*cursor` (0 to begin). */
size_t ct_tenant_stats_list(ct_table *table, uint64_t *cursor, ct_tenant_stats *out, size_t cap);

/* Takes so many messages out of its bucket. 0: they may be published; else ns until they may, UINT64_MAX: not so many at
 * once. */
uint64_t ct_tenant_publish(ct_table *table, uint64_t tenant, uint32_t messages, uint64_t now_ns);

enum ct_hold { CT_HOLD_TAKEN = 0, CT_HOLD_WAITS = 1, CT_HOLD_REFUSED = 2 };

/* Takes memory and CPU for what a tenant has beside its functions' instances: an interactive sandbox. CT_HOLD_TAKEN;
 * CT_HOLD_WAITS: it is taken, and idle instances end for it, after which ct_tenant_hold_waits says 0; CT_HOLD_REFUSED with the
 * verdict: not even all idle instances gone would leave room. What is asked 0 of is not looked at. is_there: it is taken whatever
 * the limits are. -ESTALE: there is no such tenant. */
int ct_tenant_hold(ct_table *table, uint64_t tenant, uint32_t memory_mb, uint32_t cpu_millis, uint32_t is_there,
                   ct_verdict *out);
/* Of what was taken of: what there is too much of until instances are gone, enum ct_detail; 0: nothing; -ESTALE. */
int ct_tenant_hold_waits(const ct_table *table, uint64_t tenant, uint32_t memory_mb, uint32_t cpu_millis);

/* Gives back what was taken, in as many parts as one likes; -EINVAL: it holds less. */
int ct_tenant_unhold(ct_table *table, uint64_t tenant, uint32_t memory_mb, uint32_t cpu_millis);

/* -- aliases: names under which a function's versions are called -- */

enum { CT_SHARES_MAX = 16, CT_ALIAS_BYTES_MAX = 64, CT_WEIGHT_MAX = 1000000 };

typedef struct ct_share {
    uint64_t function; /* a version's */
    uint32_t weight;
} ct_share;

/* Has a name of this function stand for some versions, instead of what it stood for; count 0: for none any more. Of a sticky
 * one, calls with equal keys get the same version as long as the weights stay. Returns 0, CT_E_TOOBIG, CT_E_RANGE (no
 * weight in all), -ENOMEM or -ESTALE (also: a version's handle is). */
int ct_alias_put(ct_table *table, uint64_t function, const uint8_t *name, uint32_t name_len, const ct_share *shares,
                 uint32_t count, uint32_t is_sticky);

/* The version that a call under a name gets: by its key where the name is sticky and it has one, else by `number`, of
 * which each is as likely as any other. 0: the function has no such name, or the version is not served any more. */
uint64_t ct_alias_pick(const ct_table *table, uint64_t function, const uint8_t *name, uint32_t name_len, const uint8_t *key,
                       uint32_t key_len, uint64_t number);

/* What the lane says without asking Python when it refuses a call of this function with this code and detail (0: any).
 * Copied; kept until the next one or the function's end. A len of 0 for both forgets it. Returns 0, CT_E_TOOBIG,
 * CT_E_RANGE, -ENOMEM or -ESTALE. */
int ct_function_set_refusal(ct_table *table, uint64_t function, uint32_t code, uint32_t detail, uint32_t grpc_status,
                            const uint8_t *message, uint32_t message_len, const uint8_t *problem, uint32_t problem_len);

typedef struct ct_function_stats {
    uint64_t function;
    uint32_t booting;
    uint32_t idle;
    uint32_t busy;
    uint32_t draining;
    uint32_t dead;     /* being destroyed */
    uint32_t leases;   /* calls that have an instance */
    uint32_t waiting;  /* calls in line or waiting for a boot */
    uint32_t current;  /* instances of the live sandbox */
    uint32_t booting_current;
    uint32_t breaker;  /* enum ct_breaker_state */
} ct_function_stats;

int ct_function_stats_get(const ct_table *table, uint64_t function, ct_function_stats *out);

/* Those with instances, calls or replicas to keep warm, after `*cursor` (0 to begin). Returns how many were written. */
size_t ct_function_stats_list(const ct_table *table, uint64_t *cursor, ct_function_stats *out, size_t cap);

typedef struct ct_node_stats {
    uint32_t instances[5]; /* by enum ct_member_state */
    uint32_t total;
    uint32_t waiting;
    uint32_t leases;
    uint32_t inflight;
} ct_node_stats;

void ct_node_stats_get(const ct_table *table, ct_node_stats *out);

/* -- a call: enter the node, be admitted, lease, end, leave the node -- */

/* Who owns a call and takes its effects. */
enum ct_taker { CT_TAKER_PYTHON = 0, CT_TAKER_LANE = 1 };

/* Counts one call of this node in. Returns 0, or 1 and *out: draining or overloaded, and counted as shed. */
int ct_node_enter(ct_table *table, ct_verdict *out);
void ct_node_leave(ct_table *table);

/* No new calls from now on; CT_EFFECT_DRAINED follows, to Python, when the last one left, unless there is none. */
void ct_node_drain(ct_table *table);

typedef struct ct_ask {
    uint64_t payload_bytes;
    uint64_t owner;       /* the caller's own, comes back with the effects */
    double rate_per_s;    /* of the subject; 0: any number of calls */
    uint32_t burst;       /* 0: one second's worth, at least 1 */
    uint32_t taker;       /* enum ct_taker */
    uint32_t depth;
    uint32_t chain_len;
    const uint8_t *chain; /* names with commas between them, outermost first */
    const uint8_t *tenant; /* whose bucket; read only when rate_per_s is above 0 */
    const uint8_t *subject;
    uint32_t tenant_len;
    uint32_t subject_len;
} ct_ask;

/* The guard chain: removed, halted, suspended, depth, cycle, size, key bucket, the tenant's quota, in-flight limit and
 * bucket, the function's in-flight limit, breaker; the first refusal wins. Only what is let in counts for the tenant.
 * Returns 0 and the call's handle, which ct_call_end gives back; 1 and the verdict, counted as an end of the function and as
 * shed; or -ESTALE. */
int ct_admit(ct_table *table, uint64_t function, const ct_ask *ask, uint64_t now_ns, uint64_t *call, ct_verdict *out);

/* The part of the chain for a call that is accepted now and run later: no in-flight limits, no breaker, of the tenant's
 * limits the quota alone, and a payload of at most max_payload_bytes. Returns 0, 1 or -ESTALE; counts nothing but the bucket. */
int ct_check_job(ct_table *table, uint64_t function, const ct_ask *ask, uint64_t max_payload_bytes, uint64_t now_ns,
                 ct_verdict *out);

typedef struct ct_grant {
    uint64_t member;
    uint64_t link; /* what ct_member_set_link put there */
    uint64_t version; /* of the function's versions, the one that runs there */
    uint64_t waited_ns;
    uint32_t is_cold; /* the call waited for this instance's boot */
} ct_grant;

enum ct_lease { CT_LEASE_GRANTED = 0, CT_LEASE_WAITS = 1, CT_LEASE_REFUSED = 2 };

/* Takes the instance that served last, else gets in line: CT_EFFECT_GRANT or CT_EFFECT_REFUSE follows, to the call's taker.
 * deadline_ns ends the whole wait (UINT64_MAX: never). Returns enum ct_lease (GRANTED: *grant; REFUSED: *out, queue_full or
 * not_found), -EINVAL (not a call that was just admitted) or -ESTALE. */
int ct_lease(ct_table *table, uint64_t call, uint64_t deadline_ns, uint64_t now_ns, ct_grant *grant, ct_verdict *out);

/* Is a waiter past its time? Returns 0 and when to look again; 1 and *out (timeout or queue_wait_timeout): it is out of the
 * line and is to be ended with that; -EINVAL: it does not wait; -ESTALE. */
int ct_call_overdue(ct_table *table, uint64_t call, uint64_t now_ns, uint64_t *next_ns, ct_verdict *out);

/* The instance that the call was given was dead before anything was sent to it: the lease goes back, and the call is
 * admitted, or in line at its old place, as it was before. Returns 0, 1 (in line again), -EINVAL or -ESTALE. */
int ct_call_return(ct_table *table, uint64_t call, uint64_t now_ns);

enum ct_end_flag { CT_END_BROKEN = 1 /* the call did not end by itself: its instance gets no new ones */ };

/* Ends a call in whatever state it is: its lease or place in line comes free, the breaker learns, the meters count.
 * Returns 0 or -ESTALE. */
int ct_call_end(ct_table *table, uint64_t call, uint32_t status, uint32_t flags, uint64_t now_ns);

/* -- instances -- */

enum ct_member_state {
    CT_MEMBER_BOOTING = 0,  /* the sandbox is being made or the handler loaded */
    CT_MEMBER_IDLE = 1,     /* no call */
    CT_MEMBER_BUSY = 2,     /* at least one call; may have room for more */
    CT_MEMBER_DRAINING = 3, /* finishes its calls and gets no new one */
    CT_MEMBER_DEAD = 4      /* of no use any more; its sandbox is being taken away */
};

typedef struct ct_member_facts {
    uint64_t function;
    uint64_t number; /* unique in the table, ascending */
    uint64_t version;
    uint64_t link;
    uint32_t state; /* enum ct_member_state */
    uint32_t leases;
    uint32_t is_current; /* of the live sandbox */
} ct_member_facts;

int ct_member_get(const ct_table *table, uint64_t member, ct_member_facts *out);

/* A word for whoever holds the instance's channel. */
int ct_member_set_link(ct_table *table, uint64_t member, uint64_t link);

/* The boot is done. Returns 0; 1: it came too late, and the instance is to be destroyed; or -ESTALE, -EINVAL. */
int ct_member_booted(ct_table *table, uint64_t member, uint64_t now_ns);

/* The boot failed: the oldest waiter is refused with `status`, and boots that no call asked for wait ever longer. */
int ct_member_boot_failed(ct_table *table, uint64_t member, uint32_t status, uint64_t now_ns);

/* The sandbox ended by itself, or is to end: no new calls; CT_EFFECT_RETIRE follows unless it was dead already. */
int ct_member_died(ct_table *table, uint64_t member, uint64_t now_ns);

/* The sandbox is no more, in whatever state the member was; the handle is stale from now on. */
int ct_member_gone(ct_table *table, uint64_t member, uint64_t now_ns);

/* Once in a while: idle members expire, warmth is kept. */
void ct_sweep(ct_table *table, uint64_t now_ns);

/* -- what is to be done -- */

enum ct_effect_kind {
    CT_EFFECT_BOOT = 1,    /* Python: begin to make this member */
    CT_EFFECT_RETIRE = 2,  /* Python: destroy this member, then say it is gone */
    CT_EFFECT_GRANT = 3,   /* the call's taker: it has an instance */
    CT_EFFECT_REFUSE = 4,  /* the call's taker: it gets none, by the verdict; still to be ended */
    CT_EFFECT_DROP = 5,    /* Python: nothing is left of this function, the handle is stale */
    CT_EFFECT_DRAINED = 6  /* Python: the last call left */
};

typedef struct ct_effect {
    uint32_t kind;
    uint32_t reserved;
    uint64_t function;
    uint64_t member; /* REFUSE: the one whose boot failed, or 0 */
    uint64_t call;
    uint64_t owner;
    ct_grant grant;
    ct_verdict verdict;
} ct_effect;

/* Takes the oldest effect of a taker. Returns 1, or 0 when there is none. */
int ct_effect_next(ct_table *table, uint32_t taker, ct_effect *out);
uint32_t ct_effect_waits(const ct_table *table, uint32_t taker);

/* -- for which functions a permission is held (base/rule.h says how it is written) -- */

enum { CT_RULE_BYTES_MAX = 4096 };
uint32_t ct_rule_allows(const uint8_t *rule, size_t rule_len, const uint8_t *name, size_t name_len); /* 1 or 0 */

/* -- identities: tokens that Python has verified -- */

typedef struct ct_identity {
    const uint8_t *tenant; /* of a look-up: borrowed until the next ct_identity_put or _clear */
    const uint8_t *space;
    const uint8_t *subject;
    const uint8_t *rule; /* which functions it may invoke; empty: all */
    uint32_t tenant_len;
    uint32_t space_len;
    uint32_t subject_len;
    uint32_t rule_len;
    uint32_t may_invoke;
    int64_t expires_at_s; /* Unix time */
    double rate_per_s;
    uint32_t burst;
} ct_identity;

/* Copied; the oldest goes when there is no room. Returns 0, CT_E_TOOBIG or -ENOMEM. */
int ct_identity_put(ct_table *table, const uint8_t *token, uint32_t token_len, const ct_identity *identity);

/* Returns 1 and *out, or 0: unknown or expired. */
int ct_identity_find(ct_table *table, const uint8_t *token, uint32_t token_len, int64_t now_s, ct_identity *out);
void ct_identity_clear(ct_table *table);

/* -- records of calls that the lane ran -- */

enum ct_record_flag { CT_RECORD_COLD = 1, CT_RECORD_LOG_TRUNCATED = 2 };

typedef struct ct_record {
    uint8_t request_id[16];
    uint64_t function;
    uint64_t version;
    int64_t started_at_us; /* Unix time */
    uint64_t duration_ns;
    uint64_t queued_ns;
    uint64_t input_bytes;
    uint64_t output_bytes;
    uint32_t status; /* enum ct_status */
    uint32_t flags;
    uint32_t log_len;
    uint32_t error_len;
    const uint8_t *log; /* copied */
    const uint8_t *error;
    uint8_t source[CT_SOURCE_BYTES]; /* ended by NUL */
} ct_record;

/* Returns 0; CT_E_FULL: dropped and counted, for there is no place or the texts of all are 64 MiB; -ENOMEM: the same;
 * -ESTALE. The function stays until its records are forgotten. */
int ct_record_append(ct_table *table, const ct_record *record);

/* A row of the log is a row of PostgreSQL's binary COPY: its function's head, then CT_ROW_FIELDS fields: id uuid,
 * function_version int4, started_at timestamptz, duration_ms float8, queued_ms float8, cold_start bool, status text,
 * error text or null, input_bytes int4, output_bytes int4, log text, log_truncated bool, source text. Text is valid
 * UTF-8: what was none, and NUL, is U+FFFD in it. */
enum { CT_ROW_FIELDS = 13, CT_ROW_HEAD_BYTES_MAX = 8192, CT_STATUS_NAME_BYTES_MAX = 60 };

/* How the rows of a function begin: the count of all fields, then those that are the same in each. Copied.
 * Returns 0, CT_E_TOOBIG, -ENOMEM or -ESTALE. */
int ct_function_set_row(ct_table *table, uint64_t function, const uint8_t *head, uint32_t head_len);

/* What a status is called in rows; one without a name is called what CT_STATUS_OTHER is.
 * Returns 0, CT_E_RANGE or CT_E_TOOBIG. */
int ct_status_name(ct_table *table, uint32_t status, const uint8_t *name, uint32_t len);

/* Writes rows of up to max records, oldest first but for the first skip, as many as fit whole. Returns how many records
 * they stand for; those of a function without a head have no row. *used: bytes written. */
uint32_t ct_record_rows(const ct_table *table, uint32_t skip, uint32_t max, uint8_t *out, size_t cap, size_t *used);

/* Bytes that the row of the record after the first skip fits in; 0: there is none. */
size_t ct_record_room(const ct_table *table, uint32_t skip);

/* Frees the places of the oldest; what had no row is counted as dropped. */
void ct_record_forget(ct_table *table, uint32_t count);
uint64_t ct_record_dropped(const ct_table *table); /* since the table was made */
uint32_t ct_record_count(const ct_table *table);

/* -- meters: exact counts; 0 is the one that functions without one of their own share -- */

typedef struct ct_meter {
    uint64_t statuses[CT_STATUS_MAX];
    uint64_t buckets[CT_METER_BUCKETS_MAX + 1]; /* calls that took at most so long and longer than the one before */
    uint64_t duration_ns;
    uint64_t cold_starts;
} ct_meter;

typedef struct ct_totals {
    uint64_t shed[CT_STATUS_MAX];
    uint64_t wait_buckets[CT_METER_BUCKETS_MAX + 1]; /* calls that were given an instance after a wait */
    uint64_t wait_ns;
    uint64_t calls;
    uint64_t cold_starts;
} ct_totals;

/* Returns 0 or CT_E_RANGE. */
int ct_meter_get(const ct_table *table, uint32_t meter, ct_meter *out);
void ct_totals_get(const ct_table *table, ct_totals *out);

/* Counts one call or job that was refused before any of the above saw it. */
void ct_shed(ct_table *table, uint32_t status);

/* Returns 0 when every invariant of the table holds, else a negative line number of check.c. For tests: it reads all. */
int ct_table_check(const ct_table *table);

/* ---- edge/: zenith's HTTP/1.1 listeners ----
 * Each request that C does not answer itself goes to an HTTP server on a unix socket of this process, with a header
 * Constellation-Peer: "CLIENT PORT SERVER PORT HANDLE plain|tls direct|proxied" (the connection's real ends; whether the client
 * sent Forwarded, X-Forwarded-* or Via, the first two of which are taken out, as is any Constellation-*).
 * A connection that chose HTTP/2 by ALPN goes whole to another such server, as bytes behind a line of its own:
 * "CLIENT PORT SERVER PORT HANDLE tls\n". Whatever its requests say of a peer is the client's word alone. */

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
    const char *h2_upstream; /* path of the unix socket of the server for HTTP/2; copied. NULL: none, and ALPN must not offer it */
    uint32_t tunnels_max; /* connections of HTTP/2 */
} ct_edge_settings;

/* Calls of one kind. */
typedef struct ct_edge_tally {
    uint64_t answered[6];    /* by the first digit of their status; 0: the client left before the end */
    uint64_t slots[CT_EDGE_SLOTS]; /* the same by duration: up to each bound, and above the last */
    uint64_t sum_ns;
} ct_edge_tally;

typedef struct ct_edge_counts {
    uint32_t inflight;    /* requests in hand, whoever answers them */
    uint32_t connections;
    uint32_t tunnels;     /* connections of HTTP/2, of those */
    uint64_t forwarded;
    uint64_t refused[CT_EDGE_REFUSALS];
    uint64_t called;      /* calls that were answered without Python */
    uint64_t held_bytes;  /* bodies that are being gathered */
    uint64_t lookups;     /* of callers, found */
    ct_edge_tally calls;  /* answered whole */
    ct_edge_tally streams; /* answered in pieces */
} ct_edge_counts;

/* Problems of comet's that were passed on, by their code. */
typedef struct ct_edge_code {
    char code[CT_EDGE_CODE_BYTES];
    uint64_t count;
} ct_edge_code;

enum { CT_ADDRESS_BYTES = 16, CT_EDGE_PROXIES_MAX = 64 };

enum { CT_EDGE_NOTES = 64, CT_EDGE_FUNCTION_BYTES = 65, CT_EDGE_ID_BYTES = 37, CT_EDGE_TOKEN_BYTES = 4096 };

/* A call that comet refused for who asked or how often (401, 403, 429). Calls alike are one, with the first one's id and address. */
typedef struct ct_edge_note {
    uint64_t count;
    uint32_t status;
    uint32_t is_stream;
    uint32_t token_len; /* 0: the caller is not known any more */
    uint8_t address[CT_ADDRESS_BYTES]; /* of the connection's other end */
    char function[CT_EDGE_FUNCTION_BYTES];
    char code[CT_EDGE_CODE_BYTES];
    char request_id[CT_EDGE_ID_BYTES];
    uint8_t token[CT_EDGE_TOKEN_BYTES];
} ct_edge_note;

/* A network: its first `bits` count, at most 128. Of IPv4 the base is in its mapped form, and 96 bits come before. */
typedef struct ct_edge_net {
    uint8_t base[CT_ADDRESS_BYTES];
    uint32_t bits;
} ct_edge_net;

/* How calls of functions are answered without Python: by gRPC to comet. */
typedef struct ct_edge_lane {
    const char *comet; /* a numeric address */
    uint16_t port;
    const char *near;  /* path of a unix socket of the same comet's; it comes before the address while it answers. NULL: none */
    const char *authorization; /* metadata of each call */
    uint32_t calls_max;
    uint64_t max_timeout_ns;
    uint64_t stream_ns;   /* from the call to the end of an answer in pieces */
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

/* Whose word about a client's address is believed: peers in these networks, at most CT_EDGE_PROXIES_MAX. They are asked in
 * X-Forwarded-For, unless `is_other_header`: then every request of theirs is Python's to read. Before anybody connects. Returns 0 or
 * CT_E_RANGE. */
int ct_edge_proxies(ct_edge *edge, const ct_edge_net *nets, size_t count, uint32_t is_other_header);

/* Every connection from now on speaks TLS. `tls` is a server's, for HTTP/1.1 or for either, and outlives the edge. */
void ct_edge_secure(ct_edge *edge, ct_tls *tls);

/* Accepts from a listening, non-blocking socket, which stays the caller's. Returns 0, CT_E_FULL (8 listeners) or -errno. */
int ct_edge_listen(ct_edge *edge, int fd);

/* Everything is copied. Returns 0, CT_E_RANGE (no numeric address, too many bounds) or -ENOMEM. Once. */
int ct_edge_call(ct_edge *edge, const ct_edge_lane *lane);

/* A caller that may invoke, and the token that says so. `key`: 'k' and the value of X-API-Key, or 'a' and that of Authorization, or 'l'
 * alone for a trusted local caller; then NUL, the value of X-Nova-Tenant, NUL, that of X-Nova-Namespace. From renew_ns (monotonic)
 * on a call in a while is forwarded, so that Python learns what is new; from until_ns on the entry is of no use. `rule`: the
 * functions that it may invoke, empty: all; calls of others are Python's to refuse. Returns 0, CT_E_TOOBIG or -ENOMEM. */
int ct_edge_learn(ct_edge *edge, const uint8_t *key, size_t key_len, const uint8_t *token, size_t token_len,
                  const uint8_t *rule, size_t rule_len, uint64_t renew_ns, uint64_t until_ns);
void ct_edge_forget(ct_edge *edge); /* all of them */

/* The hosts that tenants serve under, in place of those told before: calls to them are Python's, whoever is known. `names`: in lower
 * case, each ended by a line feed, ascending by their bytes, none twice; "*.example.org" is every name with one label more. Returns 0,
 * CT_E_RANGE (they are not so) or -ENOMEM: then every host counts as one of them, until they are told again. */
int ct_edge_domains(ct_edge *edge, const uint8_t *names, size_t len);

/* Until when what was learnt may be used, unless something newer is heard from nova. */
void ct_edge_fresh(ct_edge *edge, uint64_t until_ns);

/* The connection's peer is the trusted local user; requests of its with the same Host and without a sign of another hand
 * need no credential. A connection that is gone is no error. */
void ct_edge_trust(ct_edge *edge, uint64_t handle, const uint8_t *host, size_t host_len);

/* Takes every connection that this uid of this host holds for the trusted local user's, for the values of Host that ct_edge_trust
 * named; others are Python's to judge. Returns 0 or -errno: the kernel can not be asked. */
int ct_edge_local(ct_edge *edge, uint32_t uid);

/* Adds to the bytes of bodies in memory, or takes off. Returns 0, or CT_E_FULL: they would be over bodies_max. */
int ct_edge_hold(ct_edge *edge, int64_t bytes);

/* Counts a request of an HTTP/2 connection among those in hand, until ct_edge_leave. Returns 0, or CT_E_FULL: inflight_max. */
int ct_edge_enter(ct_edge *edge);
void ct_edge_leave(ct_edge *edge);

/* Moves at most `cap` notes out, the oldest first. Returns how many; *lost is how many calls found no room since the last time. */
size_t ct_edge_notes(ct_edge *edge, ct_edge_note *out, size_t cap, uint64_t *lost);

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
    uint64_t accepted_near; /* of these, by a unix socket */
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

/* Serves on one more such socket, of any family; a few. Returns 0, CT_E_FULL, or -errno: it can not be watched. */
int ct_h2_server_listen(ct_h2_server *server, int fd);

/* Every connection from now on speaks TLS. `tls` is a server's, for HTTP/2, and outlives this one. */
void ct_h2_server_secure(ct_h2_server *server, ct_tls *tls);

/* Accepts nothing more, finishes what is in hand for at most that long, then emits CT_EVENT_H2_STOPPED. */
void ct_h2_server_stop(ct_h2_server *server, uint32_t within_ms);

/* Cuts what is left. Not from within the reactor's turn. */
void ct_h2_server_close(ct_h2_server *server);

void ct_h2_server_count(const ct_h2_server *server, ct_h2_counts *out);

enum ct_h2_event { CT_EVENT_H2_STOPPED = 400 };

/* ---- lane/: comet's port. Unary invocations are served in C, everything else by the gRPC server behind ---- */

typedef struct ct_lane ct_lane;

enum ct_lane_event {
    CT_LANE_REFUSES = 300, /* a call is to be refused and Python has the words; target: the call, for ct_lane_refuse; data: ct_lane_case,
                              then its text; without data memory ran out */
    CT_LANE_EFFECTS = 301, /* the table has effects for Python */
    CT_LANE_RECORDS = 302  /* the table has records again; told once until ct_lane_records_heard */
};

/* What the words of a refusal depend on. */
typedef struct ct_lane_case {
    ct_verdict verdict;
    uint64_t function;   /* 0: of the node */
    uint64_t member;     /* whose boot failed, or 0 */
    uint64_t given_ns;   /* what the caller gave the call; UINT64_MAX: no limit */
    uint64_t timeout_ns; /* timeout without detail: how long the handler had */
    double rate_per_s;   /* rate_limited: of the subject */
    uint32_t text_len;   /* rate_limited: the subject; instance_died: the cause */
    uint32_t reserved;
} ct_lane_case;

/* `secret` is what `authorization` must hold; copied. NULL: no memory. Table, links and reactor outlive the lane. */
ct_lane *ct_lane_new(ct_reactor *reactor, ct_table *table, ct_links *links, const uint8_t *secret, uint32_t secret_len);

/* Serves what a port takes in, from now on; once. The lane is freed before the port is closed. Returns 0 or -EALREADY. */
int ct_lane_attach(ct_lane *lane, ct_h2_server *port);

/* Ends every call in hand as cancelled. */
void ct_lane_free(ct_lane *lane);

/* The words of a CT_LANE_REFUSES. Returns 0, or -ESTALE: the call is no more. */
int ct_lane_refuse(ct_lane *lane, uint64_t call, uint32_t grpc_status, const uint8_t *message, uint32_t message_len,
                   const uint8_t *problem, uint32_t problem_len);

void ct_lane_records_heard(ct_lane *lane);
uint32_t ct_lane_in_hand(const ct_lane *lane);
