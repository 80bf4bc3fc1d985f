// Command loadgen sends HTTP/1.1 requests over kept-alive connections and reports what it measured as JSON.
//
// Three modes:
//
//	saturate  every connection sends its next request as soon as the last one is answered
//	rate      requests leave at a fixed rate whatever the answers do; latency counts from the moment a
//	          request was due, so a stalled server cannot hide its stall
//	stream    every connection keeps one server-sent-event stream open; time to first event and events
//	          per second
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// The three modes.
const (
	modeSaturate = "saturate"
	modeRate     = "rate"
	modeStream   = "stream"
)

type headerFlags []string

func (h *headerFlags) String() string { return strings.Join(*h, ", ") }

func (h *headerFlags) Set(value string) error {
	if !strings.Contains(value, ":") {
		return fmt.Errorf("%q is no header; write name: value", value)
	}
	*h = append(*h, value)
	return nil
}

// settings of one run.
type settings struct {
	mode        string
	address     string
	connections int
	rate        float64
	warmup      time.Duration
	duration    time.Duration
	timeout     time.Duration
	request     []byte
	expect      []byte
}

// result of one run, printed as JSON. Latencies are in microseconds.
type result struct {
	Mode          string             `json:"mode"`
	Connections   int                `json:"connections"`
	Seconds       float64            `json:"seconds"`
	Requests      int                `json:"requests"`
	RequestsTotal int                `json:"requests_total"`
	Errors        int                `json:"errors"`
	FirstError    string             `json:"first_error,omitempty"`
	PerSecond     float64            `json:"requests_per_second"`
	Latency       map[string]float64 `json:"latency_us,omitempty"`
	Late          map[string]float64 `json:"sent_late_us,omitempty"`
	FirstEvent    map[string]float64 `json:"first_event_us,omitempty"`
	Events        int                `json:"events,omitempty"`
	EventsTotal   int                `json:"events_total,omitempty"`
	EventsPerSec  float64            `json:"events_per_second,omitempty"`
	Streams       int                `json:"streams_finished,omitempty"`
	Waiting       int                `json:"streams_without_event"`
}

func main() {
	var s settings
	var headers headerFlags
	path := flag.String("path", "/v1/chat/completions", "request path")
	bodyFile := flag.String("body", "", "file with the request body")
	expect := flag.String("expect", "", "text that every answer must contain")
	flag.StringVar(&s.mode, "mode", modeSaturate, "saturate, rate or stream")
	flag.StringVar(&s.address, "addr", "", "host:port to send to")
	flag.IntVar(&s.connections, "connections", 32, "connections (in rate mode: the number opened before the start)")
	flag.Float64Var(&s.rate, "rate", 200, "requests per second in rate mode")
	flag.DurationVar(&s.warmup, "warmup", time.Second, "time before measuring starts")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "time measured")
	flag.DurationVar(&s.timeout, "timeout", 30*time.Second, "longest wait for an answer")
	flag.Var(&headers, "header", "extra header, name: value (repeatable)")
	flag.Parse()

	if err := s.build(*path, *bodyFile, *expect, headers); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(2)
	}
	run := map[string]func(*settings) (*result, error){
		modeSaturate: saturate, modeRate: fixedRate, modeStream: streams,
	}[s.mode]
	if run == nil {
		fmt.Fprintf(os.Stderr, "loadgen: unknown mode %q; use saturate, rate or stream\n", s.mode)
		os.Exit(2)
	}
	measured, err := run(&s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(measured); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

// build prepares the bytes of the request, which are the same each time.
func (s *settings) build(path, bodyFile, expect string, headers headerFlags) error {
	if s.address == "" || bodyFile == "" {
		return fmt.Errorf("-addr and -body are needed")
	}
	body, err := os.ReadFile(bodyFile)
	if err != nil {
		return err
	}
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\n", path, s.address)
	for _, header := range headers {
		head.WriteString(header + "\r\n")
	}
	fmt.Fprintf(&head, "content-length: %d\r\n\r\n", len(body))
	s.request = append([]byte(head.String()), body...)
	s.expect = []byte(expect)
	return nil
}
