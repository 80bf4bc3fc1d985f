// Command streamer is a model server's stand-in that answers with server-sent events at a fixed pace.
//
// Every stream has the same number of events at the same distance, the first at once, then a usage event
// and [DONE]. A request that asks for no stream gets a short fixed answer.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n" +
		"transfer-encoding: chunked\r\n\r\n"
	event = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,` +
		`"model":"llama-3.1-8b-instant","choices":[{"index":0,"delta":{%s"content":" token"},"finish_reason":%s}]}` + "\n\n"
	usageEvent = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,` +
		`"model":"llama-3.1-8b-instant","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":%d,"total_tokens":%d}}` +
		"\n\n"
	whole = `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"llama-3.1-8b-instant",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":" token"},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":30,"completion_tokens":1,"total_tokens":31}}`
)

// server holds the bytes of a stream, prepared once.
type server struct {
	first, middle, last []byte
	events              int
	pace                time.Duration
}

func chunk(text string) []byte {
	return []byte(fmt.Sprintf("%x\r\n%s\r\n", len(text), text))
}

func newServer(events int, pace time.Duration) *server {
	ending := chunk(fmt.Sprintf(event, "", `"stop"`) + fmt.Sprintf(usageEvent, events, 30+events) + "data: [DONE]\n\n")
	return &server{
		first:  chunk(fmt.Sprintf(event, `"role":"assistant",`, "null")),
		middle: chunk(fmt.Sprintf(event, "", "null")),
		last:   append(ending, "0\r\n\r\n"...),
		events: events,
		pace:   pace,
	}
}

func main() {
	address := flag.String("addr", "127.0.0.1:0", "host:port to listen on")
	events := flag.Int("events", 64, "events of a stream that carry a token")
	pace := flag.Duration("pace", 50*time.Millisecond, "time between two events")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "streamer:", err)
		os.Exit(1)
	}
	s := newServer(*events, *pace)
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "streamer:", err)
			os.Exit(1)
		}
		go s.serve(conn)
	}
}

// serve answers the requests of one connection, one after the other.
func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 8<<10)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		if wantsStream(body) {
			err = s.stream(conn)
		} else {
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"+
				fmt.Sprintf("content-length: %d\r\n\r\n%s", len(whole), whole))
		}
		if err != nil || request.Close {
			return
		}
	}
}

// wantsStream looks for the member "stream": true however it is spaced.
func wantsStream(body []byte) bool {
	at := bytes.Index(body, []byte(`"stream"`))
	return at >= 0 && strings.HasPrefix(strings.TrimLeft(string(body[at+len(`"stream"`):]), ": \t\r\n"), "true")
}

// stream writes the events when they are due; a reader that lags delays only its own stream.
func (s *server) stream(conn net.Conn) error {
	begun := time.Now()
	if _, err := conn.Write(append([]byte(head), s.first...)); err != nil {
		return err
	}
	for i := 1; i < s.events; i++ {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * s.pace)))
		piece := s.middle
		if i == s.events-1 {
			piece = s.last
		}
		if _, err := conn.Write(piece); err != nil {
			return err
		}
	}
	return nil
}
