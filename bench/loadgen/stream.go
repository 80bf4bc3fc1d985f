package main

import (
	"bytes"
	"sync"
	"time"
)

// An event starts with this text; it may lie across two reads.
var eventStart = []byte("data: {")

// streams keeps s.connections streams open. The warm-up spreads their starts, so that they end spread too.
func streams(s *settings) (*result, error) {
	tallies := make([]tally, s.connections)
	begin := time.Now()
	from := begin.Add(s.warmup)
	until := from.Add(s.duration)
	var group sync.WaitGroup
	for i := range tallies {
		group.Add(1)
		// Even starts: streams of one length then also end and begin evenly in the measured time.
		first := begin.Add(s.warmup * time.Duration(i) / time.Duration(s.connections))
		go func(t *tally) {
			defer group.Done()
			time.Sleep(time.Until(first))
			follow(s, t, from, until)
		}(&tallies[i])
	}
	group.Wait()

	r := &result{Mode: modeStream, Connections: s.connections, Seconds: s.duration.Seconds()}
	var all []time.Duration
	for i := range tallies {
		r.add(&tallies[i])
		all = append(all, tallies[i].samples...)
	}
	r.FirstEvent = summary(all)
	r.EventsPerSec = float64(r.Events) / r.Seconds
	return r, nil
}

// follow opens one stream after the other on a connection of their own kept alive until the end.
func follow(s *settings, t *tally, from, until time.Time) {
	var c *client
	defer func() {
		if c != nil {
			c.conn.Close()
		}
	}()
	for time.Now().Before(until) {
		var err error
		if c == nil {
			c, err = dial(s)
		}
		if err == nil {
			err = c.follow(s, t, from, until)
		}
		if !time.Now().Before(until) {
			return
		}
		if err != nil {
			t.fail(err)
		} else {
			t.finished++
		}
		if err != nil || c.closes {
			if c != nil {
				c.conn.Close()
				c = nil
			}
			time.Sleep(reconnectPause)
		}
	}
}

func (c *client) follow(s *settings, t *tally, from, until time.Time) error {
	// The end of the run cuts streams under way, as clients that leave do.
	limit := time.Now().Add(s.timeout)
	if until.Before(limit) {
		limit = until
	}
	if err := c.conn.SetDeadline(limit); err != nil {
		return err
	}
	begun := time.Now()
	if _, err := c.conn.Write(s.request); err != nil {
		return err
	}
	t.total++
	if err := c.readHead(); err != nil {
		t.wait(time.Since(begun))
		return err
	}
	scan := scanner{}
	seen := 0
	err := c.readBody(func(piece []byte) {
		events := scan.count(piece)
		if events == 0 {
			return
		}
		now := time.Now()
		if seen == 0 && now.After(from) {
			t.samples = append(t.samples, now.Sub(begun))
		}
		seen += events
		t.allEvents += events
		if now.After(from) {
			t.events += events
		}
	})
	if seen == 0 {
		t.wait(time.Since(begun))
	}
	return err
}

// wait counts a stream whose first event never came: what it waited is the least its time to first event was.
// One that began just before the end had no chance and says nothing.
func (t *tally) wait(waited time.Duration) {
	if waited >= time.Second {
		t.samples = append(t.samples, waited)
		t.waiting++
	}
}

// scanner counts starts of events in pieces of a body.
type scanner struct {
	tail []byte // the last bytes of the pieces before, too few to hold a whole start
}

func (s *scanner) count(piece []byte) int {
	edge := len(eventStart) - 1
	events := bytes.Count(piece, eventStart)
	if len(s.tail) > 0 {
		head := piece
		if len(head) > edge {
			head = head[:edge]
		}
		s.tail = append(s.tail, head...)
		events += bytes.Count(s.tail, eventStart)
	}
	if len(piece) >= edge {
		s.tail = append(s.tail[:0], piece[len(piece)-edge:]...)
		return events
	}
	if len(s.tail) == 0 {
		s.tail = append(s.tail, piece...)
	} else if len(s.tail) > edge {
		s.tail = append(s.tail[:0], s.tail[len(s.tail)-edge:]...)
	}
	return events
}
