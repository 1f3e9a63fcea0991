package constellation

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	maxMessageBytes = 8 << 10
	maxStackBytes   = 32 << 10
)

// Trace is where the call stands in the caller's trace.
type Trace struct {
	TraceID, SpanID, Traceparent string
}

// Call is what a handler may know of its call; FromContext finds it.
type Call struct {
	RequestID, FunctionName, FunctionVersion, Tenant, Namespace string
	MemoryLimitMB                                               int
	Deadline                                                    time.Time
	Trace                                                       Trace
	Logger                                                      *slog.Logger // its lines are the call's own
	id                                                          uint32
	asker                                                       *asker
}

// RemainingMS tells how long the caller still waits.
func (c *Call) RemainingMS() int64 {
	return max(0, time.Until(c.Deadline).Milliseconds())
}

type callKey struct{}

// FromContext returns the call that a handler's context belongs to.
func FromContext(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}

type worker struct {
	channel *channel
	init    initMessage
	handle  func(ctx context.Context, event []byte) (any, error)
	calls   sync.WaitGroup
	mutex   sync.Mutex
	cancels map[uint32]context.CancelFunc
	asker   *asker
}

// Start serves a handler for the rest of this process's life. An event that does not fit E is an error of the call. What is
// returned is encoded as JSON; a channel or an io.Reader is streamed, piece by piece.
func Start[E, R any](handler func(context.Context, E) (R, error)) {
	w := &worker{channel: newChannel(), cancels: map[uint32]context.CancelFunc{}}
	w.handle = func(ctx context.Context, event []byte) (any, error) {
		var in E
		if err := json.Unmarshal(event, &in); err != nil {
			return nil, fmt.Errorf("the event does not fit: %w", err)
		}
		return handler(ctx, in)
	}
	hello := appendText([]byte{8, 1}, 2, "go")
	w.channel.send(kindHello, 0, 0, appendText(hello, 3, goVersion(runtime.Version())))
	for {
		f := w.channel.receive()
		switch f.kind {
		case kindExec:
			if w.init.concurrency <= 1 {
				w.execute(f)
				if w.asker.hasEnded {
					os.Exit(0)
				}
			} else {
				w.calls.Add(1)
				go func() {
					defer w.calls.Done()
					w.execute(f)
				}()
			}
		case kindInit:
			w.init = readInit(f.body)
			if w.init.memoryMB > 0 {
				debug.SetMemoryLimit(int64(w.init.memoryMB) << 20 / 10 * 9)
			}
			w.asker = &asker{channel: w.channel, isAlone: w.init.concurrency <= 1, waiting: map[uint32]chan []byte{}}
			w.channel.send(kindReady, 0, 0, []byte{8, 1})
		case kindReply:
			w.asker.replied(f.body)
		case kindPing:
			w.channel.send(kindPong, 0, f.callID, f.body)
		case kindCancel:
			w.mutex.Lock()
			if cancel := w.cancels[f.callID]; cancel != nil {
				cancel()
			}
			w.mutex.Unlock()
		case kindStop:
			w.calls.Wait()
			os.Exit(0)
		default:
			os.Exit(1)
		}
	}
}

func (w *worker) execute(f frame) {
	if len(f.body) < headBytes {
		os.Exit(1)
	}
	head, event := f.body[:headBytes], f.body[headBytes:]
	if len(event) == 0 {
		event = []byte("null")
	}
	id := hexOf(head[:16])
	call := &Call{
		RequestID:       id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:],
		FunctionName:    w.init.name,
		FunctionVersion: w.init.version,
		Tenant:          w.init.tenant,
		Namespace:       w.init.namespace,
		MemoryLimitMB:   w.init.memoryMB,
		Deadline:        time.Now().Add(time.Duration(binary.BigEndian.Uint32(head[40:])) * time.Millisecond),
		Trace:           Trace{TraceID: hexOf(head[16:32]), SpanID: hexOf(head[32:40])},
		Logger:          slog.New(slog.NewTextHandler(&callLog{channel: w.channel, callID: f.callID, left: w.init.logLimit}, &logOptions)),
		id:              f.callID,
		asker:           w.asker,
	}
	call.Trace.Traceparent = "00-" + call.Trace.TraceID + "-" + call.Trace.SpanID + "-01"
	ctx, cancel := context.WithDeadline(context.WithValue(context.Background(), callKey{}, call), call.Deadline)
	w.mutex.Lock()
	w.cancels[f.callID] = cancel
	w.mutex.Unlock()
	w.asker.current.Store(f.callID)
	output, failure := w.outcome(ctx, f.callID, event, binary.BigEndian.Uint32(head[44:])&flagStream != 0)
	w.mutex.Lock()
	delete(w.cancels, f.callID)
	w.mutex.Unlock()
	cancel()
	w.asker.settle()
	if failure != nil {
		w.channel.send(kindError, 0, f.callID, failure)
	} else {
		w.channel.send(kindResult, 0, f.callID, output)
	}
}

var logOptions = slog.HandlerOptions{
	Level: slog.LevelDebug,
	ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
		if len(groups) == 0 && attr.Key == slog.TimeKey {
			return slog.Attr{} // the platform knows when
		}
		return attr
	},
}

// outcome returns the output, or the body of an error frame.
func (w *worker) outcome(ctx context.Context, callID uint32, event []byte, isStream bool) (output, failure []byte) {
	defer func() {
		if raised := recover(); raised != nil {
			output, failure = nil, encodePanic(raised, string(debug.Stack()))
		}
	}()
	value, err := w.handle(ctx, event)
	if err != nil {
		return nil, encodeError(err)
	}
	output, err = w.answer(ctx, callID, value, isStream)
	if err != nil {
		return nil, encodeError(err)
	}
	if len(output) > maxBodyBytes {
		message := fmt.Sprintf("the output has %d bytes; at most %d are carried", len(output), maxBodyBytes)
		return nil, encodeFailure("OutputTooLarge", message, "")
	}
	return output, nil
}

func (w *worker) answer(ctx context.Context, callID uint32, value any, isStream bool) ([]byte, error) {
	var listed []json.RawMessage
	piece := func(value any) error {
		raw, err := bytesOf(value)
		if err != nil {
			return err
		}
		if isStream {
			for len(raw) > 0 {
				size := min(len(raw), chunkBytes)
				w.channel.send(kindChunk, 0, callID, raw[:size])
				raw = raw[size:]
			}
			return nil
		}
		if text, isText := textOf(value); isText {
			value = text
		}
		encoded, err := encode(value)
		listed = append(listed, encoded)
		return err
	}
	if reader, isReader := value.(io.Reader); isReader {
		if err := readPieces(reader, isStream, piece); err != nil {
			return nil, err
		}
	} else if from := reflect.ValueOf(value); from.IsValid() && from.Kind() == reflect.Chan && from.Type().ChanDir()&reflect.RecvDir != 0 {
		for {
			item, isOpen := from.Recv()
			if !isOpen {
				break
			}
			if err, isError := item.Interface().(error); isError {
				return nil, err
			}
			if err := piece(item.Interface()); err != nil {
				return nil, err
			}
		}
	} else if isStream {
		return nil, piece(value)
	} else {
		return encode(value)
	}
	if isStream {
		return nil, nil
	}
	if listed == nil {
		listed = []json.RawMessage{}
	}
	return encode(listed)
}

func readPieces(reader io.Reader, isStream bool, piece func(any) error) error {
	if closer, isCloser := reader.(io.Closer); isCloser {
		defer closer.Close()
	}
	if !isStream {
		all, err := io.ReadAll(io.LimitReader(reader, maxBodyBytes+1))
		if err != nil {
			return err
		}
		return piece(all)
	}
	data := make([]byte, 64<<10)
	for {
		got, err := reader.Read(data)
		if got > 0 {
			if failed := piece(data[:got]); failed != nil {
				return failed
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func textOf(value any) (string, bool) {
	switch text := value.(type) {
	case string:
		return text, true
	case []byte:
		return string(text), true
	}
	return "", false
}

// bytesOf returns what a piece is on the wire: texts and bytes as they are, anything else as JSON.
func bytesOf(value any) ([]byte, error) {
	switch text := value.(type) {
	case string:
		return []byte(text), nil
	case []byte:
		return text, nil
	}
	return encode(value)
}

func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("the output is not JSON: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// --- errors

func encodeError(err error) []byte {
	var causes strings.Builder
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		fmt.Fprintf(&causes, "Caused by: %s: %s\n", typeOf(cause), cause.Error())
	}
	return encodeFailure(typeOf(err), err.Error(), causes.String())
}

func encodePanic(raised any, stack string) []byte {
	kind, message := "panic", fmt.Sprint(raised)
	if err, isError := raised.(error); isError {
		kind, message = typeOf(err), err.Error()
	}
	// Of the stack what lies between the panic and us is the function's
	lines := strings.Split(stack, "\n")
	var own []string
	for i := 1; i+1 < len(lines); i += 2 {
		if strings.HasPrefix(lines[i], "constellation.") || strings.HasPrefix(lines[i], "main.main(") {
			if len(own) > 0 {
				break
			}
			continue
		}
		if len(own) > 0 || !(strings.HasPrefix(lines[i], "panic(") || strings.HasPrefix(lines[i], "runtime")) {
			own = append(own, lines[i], lines[i+1])
		}
	}
	return encodeFailure(kind, message, strings.Join(own, "\n"))
}

func typeOf(err error) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
}

func encodeFailure(kind, message, stack string) []byte {
	if len(message) > maxMessageBytes {
		message = message[:maxMessageBytes]
	}
	if len(stack) > maxStackBytes {
		stack = stack[:maxStackBytes]
	}
	body, _ := json.Marshal(map[string]string{"type": kind, "message": message, "stack": stack}) // of texts: it can not fail
	return body
}
