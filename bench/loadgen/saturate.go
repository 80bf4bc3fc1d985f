package main

import (
	"sync"
	"time"
)

const reconnectPause = 10 * time.Millisecond

// saturate keeps every connection busy and counts the answers that arrive in the measured window.
func saturate(s *settings) (*result, error) {
	tallies := make([]tally, s.connections)
	from := time.Now().Add(s.warmup)
	until := from.Add(s.duration)
	var group sync.WaitGroup
	for i := range tallies {
		group.Add(1)
		go func(t *tally) {
			defer group.Done()
			repeat(s, t, from, until)
		}(&tallies[i])
	}
	group.Wait()

	r := &result{Mode: modeSaturate, Connections: s.connections, Seconds: s.duration.Seconds()}
	var all []time.Duration
	for i := range tallies {
		r.add(&tallies[i])
		all = append(all, tallies[i].samples...)
	}
	r.PerSecond = float64(r.Requests) / r.Seconds
	r.Latency = summary(all)
	return r, nil
}

func repeat(s *settings, t *tally, from, until time.Time) {
	var c *client
	defer func() {
		if c != nil {
			c.conn.Close()
		}
	}()
	for {
		begun := time.Now()
		if !begun.Before(until) {
			return
		}
		var err error
		if c == nil {
			c, err = dial(s)
		}
		if err == nil {
			err = c.call(s)
		}
		ended := time.Now()
		if err != nil {
			t.fail(err)
			if c != nil {
				c.conn.Close()
				c = nil
			}
			time.Sleep(reconnectPause)
			continue
		}
		t.total++
		if ended.After(from) && ended.Before(until) {
			t.samples = append(t.samples, ended.Sub(begun))
		}
		if c.closes {
			c.conn.Close()
			c = nil
		}
	}
}
