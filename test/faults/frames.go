package faults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// frame is one operation of the NATS client protocol, in either direction.
type frame struct {
	verb    string // MSG, HMSG, PUB or HPUB have the fields below; of all others only line is looked at
	subject string
	sid     string // of MSG and HMSG: the receiver's name for its subscription
	reply   string
	header  []byte // with its first line and the empty one at its end; nil without headers
	payload []byte
	line    []byte // without the end of the line
}

// Limits of what is kept in memory of one connection. NATS's own are 4 KiB for a line (the server's first one is longer) and 1 MiB
// for a message.
const (
	maxLine    = 256 << 10
	maxMessage = 8 << 20
)

var (
	errFrame = errors.New("not the NATS protocol")
	crlf     = []byte("\r\n")
)

// frameReader takes a byte stream apart, however it was cut into pieces.
type frameReader struct{ r *bufio.Reader }

func newFrameReader(r io.Reader) *frameReader { return &frameReader{bufio.NewReaderSize(r, 64<<10)} }

// waits reports whether the next frame has not even begun to arrive.
func (f *frameReader) waits() bool { return f.r.Buffered() == 0 }

// next blocks until a whole frame is there. What the stream ends with, if it isn't one, is lost.
func (f *frameReader) next() (frame, error) {
	line, err := f.line()
	if err != nil {
		return frame{}, err
	}
	words := bytes.Fields(line)
	if len(words) == 0 {
		return frame{line: line}, nil
	}
	fr := frame{verb: string(bytes.ToUpper(words[0])), line: line}
	switch fr.verb {
	case "MSG", "HMSG", "PUB", "HPUB":
		return f.message(fr, words[1:])
	}
	return fr, nil
}

func (f *frameReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := f.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("%w: a line of more than %d bytes", errFrame, maxLine)
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// message reads what the words of a line announce: subject, sid (to clients), reply (perhaps), size of the header (of HMSG
// and HPUB) and size of all.
func (f *frameReader) message(fr frame, words [][]byte) (frame, error) {
	names, sizes := 1, 1
	if fr.toClient() {
		names++
	}
	if fr.hasHeader() {
		sizes++
	}
	if n := len(words) - names - sizes; n != 0 && n != 1 {
		return frame{}, fmt.Errorf("%w: %.100q", errFrame, fr.line)
	}
	fr.subject = string(words[0])
	if fr.toClient() {
		fr.sid = string(words[1])
	}
	if len(words) > names+sizes {
		fr.reply = string(words[names])
	}
	all, err := size(words[len(words)-1])
	if err != nil {
		return frame{}, err
	}
	header := 0
	if fr.hasHeader() {
		if header, err = size(words[len(words)-2]); err != nil || header > all {
			return frame{}, fmt.Errorf("%w: a header of %s bytes in %d", errFrame, words[len(words)-2], all)
		}
	}
	body, err := f.body(all)
	if err != nil {
		return frame{}, err
	}
	if fr.hasHeader() {
		fr.header = body[:header:header]
	}
	fr.payload = body[header:]
	return fr, nil
}

// size reads a decimal number that is not too large to be kept.
func size(word []byte) (int, error) {
	n, err := strconv.ParseUint(string(word), 10, 32)
	if err != nil || n > maxMessage {
		return 0, fmt.Errorf("%w: size %.20q", errFrame, word)
	}
	return int(n), nil
}

// body grows with what has arrived, not with what was announced.
func (f *frameReader) body(size int) ([]byte, error) {
	var b bytes.Buffer
	if _, err := io.CopyN(&b, f.r, int64(size)+2); err != nil {
		return nil, err
	}
	body := b.Bytes()
	if !bytes.HasSuffix(body, crlf) {
		return nil, fmt.Errorf("%w: a message of %d bytes doesn't end there", errFrame, size)
	}
	return body[:size:size], nil
}

func (f frame) toClient() bool  { return f.verb == "MSG" || f.verb == "HMSG" }
func (f frame) hasHeader() bool { return f.verb == "HMSG" || f.verb == "HPUB" }

// isMessage reports whether it carries something from one client to another.
func (f frame) isMessage() bool { return f.toClient() || f.verb == "PUB" || f.verb == "HPUB" }

// append writes the frame behind b, its line made anew from its fields.
func (f frame) append(b []byte) []byte {
	if !f.isMessage() {
		return append(append(b, f.line...), crlf...)
	}
	b = fmt.Append(b, f.verb, " ", f.subject, " ")
	if f.toClient() {
		b = fmt.Append(b, f.sid, " ")
	}
	if f.reply != "" {
		b = fmt.Append(b, f.reply, " ")
	}
	if f.hasHeader() {
		b = fmt.Append(b, strconv.Itoa(len(f.header)), " ")
	}
	b = append(fmt.Append(b, strconv.Itoa(len(f.header)+len(f.payload))), crlf...)
	b = append(append(b, f.header...), f.payload...)
	return append(b, crlf...)
}
