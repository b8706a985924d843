package faults

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// exchange is what a connection carries, in both directions.
const exchange = "INFO {\"server_id\":\"x\",\"headers\":true}\r\n" +
	"CONNECT {\"verbose\":false}\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'Slow Consumer'\r\nSUB tocsin.v1.live.> 1\r\nUNSUB 1\r\n" +
	"PUB tocsin.v1.proof.cars _INBOX_cars.a 2\r\n{}\r\nPUB a 0\r\n\r\n" +
	"HPUB a b 12 14\r\nNATS/1.0\r\n\r\n\r\n\r\n" +
	"MSG tocsin.v1.live.token.revoked 1 5\r\na\r\nb\n\r\nMSG s 2 reply 1\r\nx\r\n" +
	"HMSG _INBOX_cars.a 3 12 14\r\nNATS/1.0\r\n\r\n{}\r\nHMSG s 3 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"

func framesOf(r io.Reader) (all []frame, err error) {
	reader := newFrameReader(r)
	for {
		f, err := reader.next()
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

func bytesOf(all []frame) (b []byte) {
	for _, f := range all {
		b = f.append(b)
	}
	return b
}

func TestFramesAreTheBytesTheyCameAs(t *testing.T) {
	whole, err := framesOf(strings.NewReader(exchange))
	if err != io.EOF {
		t.Fatal(err)
	}
	if got := bytesOf(whole); string(got) != exchange {
		t.Errorf("got %q", got)
	}
	pieces, _ := framesOf(iotest.OneByteReader(strings.NewReader(exchange)))
	if !reflect.DeepEqual(whole, pieces) {
		t.Error("byte by byte they are others")
	}
	if f := whole[13]; f.subject != "_INBOX_cars.a" || f.sid != "3" || string(f.header) != "NATS/1.0\r\n\r\n" || string(f.payload) != "{}" {
		t.Errorf("got %+v", f)
	}
	if f := whole[12]; f.reply != "reply" || string(f.payload) != "x" || string(whole[11].payload) != "a\r\nb\n" {
		t.Errorf("got %+v", f)
	}
}

func TestFramesThatAreNoneAreNamed(t *testing.T) {
	for _, bad := range []string{
		"MSG s 1\r\n", "MSG s 1 r r 0\r\n\r\n", "PUB s -1\r\n", "PUB s 99999999999\r\n", "PUB s 8388609\r\n", "PUB s 1\r\nxyz\r\n",
		"HMSG s 1 5 4\r\nabcd\r\n", "PUB\r\n", strings.Repeat("x", maxLine+1) + "\r\n",
	} {
		if _, err := framesOf(strings.NewReader(bad)); !errors.Is(err, errFrame) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	if _, err := framesOf(strings.NewReader("PUB s 8000000\r\nshort")); !errors.Is(err, io.EOF) {
		t.Errorf("a message that is cut off: %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(exchange))
	f.Add([]byte("hpub  a\tb  0 1\nx\r\nMSG"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _ := framesOf(bytes.NewReader(b))
		written := bytesOf(all)
		again, err := framesOf(iotest.HalfReader(bytes.NewReader(written)))
		if err != io.EOF || len(again) != len(all) {
			t.Fatalf("%d frames of %d can be read again: %v", len(again), len(all), err)
		}
		if got := bytesOf(again); !bytes.Equal(got, written) {
			t.Fatalf("%q became %q", written, got)
		}
	})
}
