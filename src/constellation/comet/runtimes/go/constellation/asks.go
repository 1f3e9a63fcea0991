package constellation

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The operations and fields of Ask (proto/agent.proto).
const (
	opGet = iota + 1
	opPut
	opDelete
	opList
	opInvoke
	opInvokeAsync
	opStep
	opStepDone
	opSleep
	opWait
	opPublish
	opWaitMessage
)

const (
	fieldID = iota + 1
	fieldOp
	fieldName
	fieldKey
	fieldValue
	fieldIfVersion
	fieldTTLMs
	fieldForMs
	fieldLimit
	fieldAfter
	fieldSeq
	fieldError
)

// Error says that the platform did not do what was asked. Code is stable: "not_found", "version_conflict", "recursion",
// "timeout"; with "function_error" and "step_failed" Type, Message and Stack are those of what raised.
type Error struct {
	Code    string `json:"code"`
	Type    string `json:"type"`
	Message string `json:"message"`
	Stack   string `json:"stack"`
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// suspended is panicked with: the execution waits, and this run of it ends here.
type suspended struct{}

func (suspended) Error() string { return "the execution waits; this run of it is over" }

// asker asks for all calls of one worker. Where calls come one at a time, who asks reads the channel itself until its reply
// is there; with more, the worker's own loop reads for all.
type asker struct {
	channel  *channel
	isAlone  bool
	turn     sync.Mutex
	last     uint32
	waiting  map[uint32]chan []byte
	current  atomic.Uint32 // the call in hand when calls come one at a time
	isUsed   atomic.Bool
	hasEnded bool // told to stop meanwhile
}

func (a *asker) ask(callID uint32, op uint64, fields []byte, out any) error {
	a.turn.Lock()
	a.isUsed.Store(true)
	if a.isAlone && a.current.Load() != callID {
		a.turn.Unlock()
		return &Error{Code: "call_ended", Type: "CallEnded", Message: "the call in which this was asked has ended"}
	}
	a.last++
	id := a.last
	body := appendNumber(appendNumber(nil, fieldID, uint64(id)), fieldOp, op)
	body = append(body, fields...)
	if a.isAlone {
		defer a.turn.Unlock()
		a.channel.send(kindAsk, 0, callID, body)
		return answerOf(a.await(id), out)
	}
	reply := make(chan []byte, 1)
	a.waiting[id] = reply
	a.turn.Unlock()
	a.channel.send(kindAsk, 0, callID, body)
	return answerOf(<-reply, out)
}

func (a *asker) await(id uint32) []byte {
	for {
		f := a.channel.receive()
		switch f.kind {
		case kindReply:
			if idOf(f.body) == id {
				return f.body
			}
		case kindPing:
			a.channel.send(kindPong, 0, f.callID, f.body)
		case kindStop:
			a.hasEnded = true
		case kindCancel:
		default:
			os.Exit(1)
		}
	}
}

func (a *asker) replied(body []byte) {
	a.turn.Lock()
	defer a.turn.Unlock()
	id := idOf(body)
	if reply := a.waiting[id]; reply != nil {
		delete(a.waiting, id)
		reply <- body
	}
}

// settle comes before a call is answered: it waits for what goroutines of it still ask, so that one reads the channel again.
func (a *asker) settle() {
	a.current.Store(0) // first: who asks from now on is refused, or is seen to have asked
	if a.isAlone && a.isUsed.Load() {
		a.turn.Lock()
		a.isUsed.Store(false)
		a.turn.Unlock()
	}
}

func idOf(body []byte) (id uint32) {
	eachField(body, func(number int, value uint64, _ []byte) {
		if number == fieldID {
			id = uint32(value)
		}
	})
	return id
}

func answerOf(body []byte, out any) error {
	var value, failure []byte
	eachField(body, func(number int, _ uint64, text []byte) {
		switch number {
		case 2:
			value = text
		case 3:
			failure = text
		}
	})
	if failure == nil {
		return json.Unmarshal(value, out)
	}
	told := &Error{}
	if err := json.Unmarshal(failure, told); err != nil {
		return err
	}
	if told.Code == "suspended" {
		panic(suspended{})
	}
	return told
}

func appendNumber(out []byte, number int, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(out, uint64(number<<3)), value)
}

func milliseconds(d time.Duration) uint64 {
	return uint64(max(1, d.Milliseconds()))
}

// State holds values under keys, kept between calls: the function's own, or those of a Store.
type State struct {
	call *Call
	name string
}

// State returns the function's own store.
func (c *Call) State() *State { return &State{call: c} }

// Store returns the store of a name, which all functions of the namespace share.
func (s *State) Store(name string) *State { return &State{call: s.call, name: name} }

// Entry is a value as it is kept.
type Entry struct {
	Value     json.RawMessage `json:"value"`
	Version   int64           `json:"version"`
	ExpiresAt *time.Time      `json:"expires_at"`
}

// Keys is a page of a list; Next is the `after` of the next page.
type Keys struct {
	Items []struct {
		Key       string     `json:"key"`
		Version   int64      `json:"version"`
		SizeBytes int        `json:"size_bytes"`
		ExpiresAt *time.Time `json:"expires_at"`
	} `json:"items"`
	Next string `json:"next"`
}

// Option is a condition or a detail of a Put, a Delete or a List.
type Option func([]byte) []byte

// IfVersion lets a Put or Delete succeed only if the key has this version; 0: if it is not there.
func IfVersion(version int64) Option {
	return func(fields []byte) []byte { return appendNumber(fields, fieldIfVersion, uint64(version)) }
}

// TTL has a value gone after a time.
func TTL(d time.Duration) Option {
	return func(fields []byte) []byte { return appendNumber(fields, fieldTTLMs, milliseconds(d)) }
}

// Limit bounds a page of a list.
func Limit(count int) Option {
	return func(fields []byte) []byte { return appendNumber(fields, fieldLimit, uint64(count)) }
}

// After begins a page of a list behind a key.
func After(key string) Option {
	return func(fields []byte) []byte { return appendText(fields, fieldAfter, key) }
}

func (s *State) ask(op uint64, key string, options []Option, value, out any) error {
	fields := appendText(nil, fieldKey, key)
	if s.name != "" {
		fields = appendText(fields, fieldName, s.name)
	}
	if op == opPut {
		raw, err := encode(value)
		if err != nil {
			return err
		}
		fields = appendText(fields, fieldValue, string(raw))
	}
	for _, option := range options {
		fields = option(fields)
	}
	return s.call.ask(op, fields, out)
}

// Get reads a value into out; false: there is no such key.
func (s *State) Get(key string, out any) (bool, error) {
	entry, err := s.Entry(key)
	if err != nil || entry == nil {
		return false, err
	}
	return true, json.Unmarshal(entry.Value, out)
}

// Entry returns a value with its version, nil when there is none.
func (s *State) Entry(key string) (entry *Entry, err error) {
	return entry, s.ask(opGet, key, nil, nil, &entry)
}

// Put keeps a value and returns its version.
func (s *State) Put(key string, value any, options ...Option) (int64, error) {
	var written struct {
		Version int64 `json:"version"`
	}
	err := s.ask(opPut, key, options, value, &written)
	return written.Version, err
}

// Delete deletes a key; false: it was not there.
func (s *State) Delete(key string, options ...Option) (bool, error) {
	var done struct {
		Deleted bool `json:"deleted"`
	}
	err := s.ask(opDelete, key, options, nil, &done)
	return done.Deleted, err
}

// List returns the keys that begin with a prefix, in byte order.
func (s *State) List(prefix string, options ...Option) (keys Keys, err error) {
	err = s.ask(opList, prefix, options, nil, &keys)
	return keys, err
}

// Invoke calls a function of the same namespace and reads its output into out, which may be nil.
func (c *Call) Invoke(name string, payload, out any) error {
	var answer struct {
		Output json.RawMessage `json:"output"`
	}
	if err := c.invoke(opInvoke, name, payload, &answer); err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer.Output, out)
}

// InvokeAsync has a function called later, durably, and returns the id of the job.
func (c *Call) InvokeAsync(name string, payload any) (string, error) {
	var accepted struct {
		ID string `json:"id"`
	}
	err := c.invoke(opInvokeAsync, name, payload, &accepted)
	return accepted.ID, err
}

// Message is what is published to a topic: Payload, and if wanted what it is about, texts that filters of subscriptions look
// at, and a key that makes repetitions one message.
type Message struct {
	Payload        any               `json:"payload"`
	Key            string            `json:"key,omitempty"`
	Attributes     map[string]string `json:"attributes,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
}

// Publish publishes a message to a topic of the same namespace; it is committed when its id is returned. Codes of errors:
// "topic_not_found", "payload_too_large" above 256 KiB, "message_loop".
func (c *Call) Publish(topic string, message Message) (string, error) {
	var published struct {
		ID string `json:"id"`
	}
	err := c.invoke(opPublish, topic, message, &published)
	return published.ID, err
}

func (c *Call) invoke(op uint64, name string, payload, out any) error {
	raw, err := encode(payload)
	if err != nil {
		return err
	}
	return c.ask(op, appendText(appendText(nil, fieldName, name), fieldValue, string(raw)), out)
}

func (c *Call) ask(op uint64, fields []byte, out any) error {
	return c.asker.ask(c.id, op, fields, out)
}

// Steps is what a durable execution does once, whatever happens to it: steps are taken one after the other.
type Steps struct{ call *Call }

// Steps returns the steps of the execution that this call is a run of.
func (c *Call) Steps() Steps { return Steps{call: c} }

// Run reads into out (which may be nil) what work returned when it ran first. An error of work comes as *Error with the
// code "step_failed", each time.
func (s Steps) Run(name string, out any, work func() (any, error)) error {
	var begun struct {
		Seq    *uint64         `json:"seq"`
		Output json.RawMessage `json:"output"`
	}
	if err := s.call.ask(opStep, appendText(nil, fieldName, name), &begun); err != nil {
		return err
	}
	output := []byte(begun.Output)
	if begun.Seq != nil {
		value, failure := work()
		fields := appendNumber(nil, fieldSeq, *begun.Seq)
		var done struct{}
		if failure != nil {
			body := encodeError(failure)
			if err := s.call.ask(opStepDone, appendText(fields, fieldError, string(body)), &done); err != nil {
				return err
			}
			told := &Error{}
			if err := json.Unmarshal(body, told); err != nil {
				return err
			}
			told.Code = "step_failed"
			return told
		}
		raw, err := encode(value)
		if err != nil {
			return err
		}
		if err := s.call.ask(opStepDone, appendText(fields, fieldValue, string(raw)), &done); err != nil {
			return err
		}
		output = raw
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(output, out)
}

// Sleep waits up to a year; nothing of the execution runs meanwhile.
func (s Steps) Sleep(d time.Duration) error {
	var done struct{}
	fields := appendNumber(appendText(nil, fieldName, "sleep"), fieldForMs, milliseconds(d))
	return s.call.ask(opSleep, fields, &done)
}

// WaitForEvent reads the payload of the next event of a name into out, which may be nil; *Error with the code "timeout"
// when none came in time.
func (s Steps) WaitForEvent(name string, timeout time.Duration, out any) error {
	var came struct {
		Payload json.RawMessage `json:"payload"`
	}
	fields := appendNumber(appendText(nil, fieldName, name), fieldForMs, milliseconds(timeout))
	if err := s.call.ask(opWait, fields, &came); err != nil || out == nil {
		return err
	}
	return json.Unmarshal(came.Payload, out)
}

// MessageWait says which message of a topic is waited for, and how long; what is zero does not matter.
type MessageWait struct {
	Key     string
	Filter  map[string]any // attributes, each with the text that it has, {"prefix": ...} or a list of these
	Timeout time.Duration
}

// WaitForMessage reads the next message of a topic into out as a function that subscribes to it gets it; its "data" is the
// payload. Messages count from the step before on; *Error with the code "timeout" when none came in time.
func (s Steps) WaitForMessage(topic string, wait MessageWait, out any) error {
	var came struct {
		Message json.RawMessage `json:"message"`
	}
	fields := appendText(nil, fieldName, topic)
	if wait.Key != "" {
		fields = appendText(fields, fieldKey, wait.Key)
	}
	if len(wait.Filter) > 0 {
		raw, err := encode(wait.Filter)
		if err != nil {
			return err
		}
		fields = appendText(fields, fieldValue, string(raw))
	}
	if wait.Timeout > 0 {
		fields = appendNumber(fields, fieldForMs, milliseconds(wait.Timeout))
	}
	if err := s.call.ask(opWaitMessage, fields, &came); err != nil || out == nil {
		return err
	}
	return json.Unmarshal(came.Message, out)
}
