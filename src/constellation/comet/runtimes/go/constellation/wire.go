// Package constellation is the worker of functions in Go: it reads the frames of proto/agent.proto on descriptor 3, calls
// the handler, and answers each exec frame with exactly one result or error frame.
package constellation

import (
	"encoding/binary"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unicode/utf8"
	"unsafe"
)

const (
	kindHello = iota + 1
	kindInit
	kindReady
	kindExec
	kindResult
	kindError
	kindChunk
	kindLog
	kindCancel
	kindPing
	kindPong
	kindStop
	kindAsk
	kindReply
)

const (
	channelFd    = 3
	headerBytes  = 12
	headBytes    = 48
	maxBodyBytes = 6 << 20 // of an event and of an output; the platform's limit for a synchronous call
	chunkBytes   = 1 << 20
	pollIn       = 1
	flagStream   = 1
	flagStderr   = 1
	flagCut      = 2
)

type frame struct {
	kind   byte
	callID uint32
	body   []byte
}

// channel is the host's end of one blocking socket. Whatever breaks it ends the process: nobody is left to talk to.
type channel struct {
	file    *os.File
	sending sync.Mutex
	held    []byte
	have    []byte // of held, what is not used yet
}

func newChannel() *channel {
	return &channel{file: os.NewFile(channelFd, "channel"), held: make([]byte, 64<<10)}
}

func (c *channel) send(kind, flags byte, callID uint32, body []byte) {
	data := make([]byte, headerBytes+len(body))
	binary.BigEndian.PutUint32(data, uint32(len(body)))
	data[4], data[5] = kind, flags
	binary.BigEndian.PutUint32(data[8:], callID)
	copy(data[headerBytes:], body)
	c.sending.Lock()
	defer c.sending.Unlock()
	if _, err := c.file.Write(data); err != nil {
		os.Exit(1)
	}
}

func (c *channel) read(out []byte) {
	for len(out) > 0 {
		if len(c.have) == 0 {
			if len(out) >= len(c.held) {
				if _, err := io.ReadFull(c.file, out); err != nil {
					os.Exit(1)
				}
				return
			}
			awaitNews()
			got, err := c.file.Read(c.held)
			if err != nil {
				os.Exit(0) // the host is gone
			}
			c.have = c.held[:got]
		}
		taken := copy(out, c.have)
		out, c.have = out[taken:], c.have[taken:]
	}
}

// awaitNews sleeps until there is something to read. Who sleeps in read() of a unix socket is also woken when the host has
// taken what was written; in poll() for what it asks for only.
func awaitNews() {
	news := struct {
		fd             int32
		wanted, result int16
	}{channelFd, pollIn, 0}
	syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&news)), 1, 0, 0, 0, 0)
}

func (c *channel) receive() frame {
	var head [headerBytes]byte
	c.read(head[:])
	size := binary.BigEndian.Uint32(head[:])
	if size > maxBodyBytes+headBytes {
		os.Exit(1)
	}
	f := frame{kind: head[4], callID: binary.BigEndian.Uint32(head[8:]), body: make([]byte, size)}
	c.read(f.body)
	return f
}

// --- control messages: as much of protobuf as Hello, Init and Ready need

func appendText(out []byte, number int, text string) []byte {
	out = binary.AppendUvarint(out, uint64(number<<3|2))
	out = binary.AppendUvarint(out, uint64(len(text)))
	return append(out, text...)
}

// eachField calls take with each field's number, and its number or bytes.
func eachField(data []byte, take func(number int, value uint64, text []byte)) {
	for len(data) > 0 {
		tag, size := binary.Uvarint(data)
		value, more := binary.Uvarint(data[max(size, 0):])
		if size <= 0 || more <= 0 {
			return
		}
		data = data[size+more:]
		var text []byte
		if tag&7 == 2 {
			if value > uint64(len(data)) {
				return
			}
			text, data = data[:value], data[value:]
		}
		take(int(tag>>3), value, text)
	}
}

type initMessage struct {
	name, version, tenant, namespace string
	memoryMB, concurrency, logLimit  int
}

func readInit(body []byte) initMessage {
	out := initMessage{concurrency: 1, logLimit: 64 << 10}
	texts := map[int]*string{2: &out.name, 3: &out.version, 4: &out.tenant, 5: &out.namespace}
	numbers := map[int]*int{6: &out.memoryMB, 7: &out.concurrency, 10: &out.logLimit}
	eachField(body, func(number int, value uint64, text []byte) {
		switch {
		case texts[number] != nil:
			*texts[number] = string(text)
		case numbers[number] != nil:
			*numbers[number] = int(value)
		case number == 8:
			pair := map[int]string{}
			eachField(text, func(number int, _ uint64, text []byte) { pair[number] = string(text) })
			os.Setenv(pair[1], pair[2])
		}
	})
	return out
}

// --- logs

// callLog sends what the logger writes as log frames, up to a bound.
type callLog struct {
	channel *channel
	callID  uint32
	mutex   sync.Mutex
	left    int
}

func (l *callLog) Write(data []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	size, flags := len(data), byte(flagStderr)
	if l.left < 0 {
		return size, nil
	}
	if size > l.left {
		cut := l.left
		for cut > 0 && !utf8.RuneStart(data[cut]) {
			cut--
		}
		data, flags, l.left = data[:cut], flags|flagCut, -1
	} else {
		l.left -= size
	}
	l.channel.send(kindLog, flags, l.callID, data)
	return size, nil
}

func hexOf(data []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(data))
	for _, b := range data {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}

func goVersion(version string) string {
	if len(version) > 2 && version[:2] == "go" {
		return version[2:]
	}
	return strconv.Quote(version)
}
