package main

import (
	"runtime"
	"sync"
	"syscall"
	"time"
)

// pacer sends requests when they are due; each connection has a goroutine that waits for its answers.
type pacer struct {
	s       *settings
	mutex   sync.Mutex
	idle    []*paced
	tally   tally
	late    []time.Duration
	from    time.Time
	pending sync.WaitGroup
}

// paced is one connection of the pacer; due is the moment its request under way should have left.
type paced struct {
	*client
	due time.Time
}

// fixedRate sends requests at equal distances whether or not the earlier ones are answered.
func fixedRate(s *settings) (*result, error) {
	p := &pacer{s: s}
	for i := 0; i < s.connections; i++ {
		c, err := p.open()
		if err != nil {
			return nil, err
		}
		p.idle = append(p.idle, c)
	}

	// The pacing thread sleeps in the kernel and holds its processor; the answers need others.
	if runtime.GOMAXPROCS(0) < 4 {
		runtime.GOMAXPROCS(4)
	}
	runtime.LockOSThread()
	interval := time.Duration(float64(time.Second) / s.rate)
	start := time.Now().Add(interval)
	p.from = start.Add(s.warmup)
	count := int((s.warmup + s.duration) / interval)
	for i := 0; i < count; i++ {
		due := start.Add(time.Duration(i) * interval)
		sleepUntil(due)
		p.send(due)
	}
	runtime.UnlockOSThread()
	p.pending.Wait()

	r := &result{Mode: modeRate, Connections: s.connections, Seconds: s.duration.Seconds()}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	r.add(&p.tally)
	r.PerSecond = float64(r.Requests) / r.Seconds
	r.Latency = summary(p.tally.samples)
	r.Late = summary(p.late)
	return r, nil
}

// sleepUntil sleeps in the kernel: the runtime's own timers are a millisecond coarse when nothing runs.
func sleepUntil(due time.Time) {
	for {
		left := time.Until(due)
		if left <= 0 {
			return
		}
		pause := syscall.NsecToTimespec(left.Nanoseconds())
		if err := syscall.Nanosleep(&pause, nil); err != nil && err != syscall.EINTR {
			time.Sleep(left)
		}
	}
}

func (p *pacer) open() (*paced, error) {
	c, err := dial(p.s)
	if err != nil {
		return nil, err
	}
	return &paced{client: c}, nil
}

func (p *pacer) send(due time.Time) {
	p.mutex.Lock()
	var c *paced
	if last := len(p.idle) - 1; last >= 0 {
		c = p.idle[last]
		p.idle = p.idle[:last]
	}
	p.late = append(p.late, time.Since(due))
	p.mutex.Unlock()

	p.pending.Add(1)
	if c == nil { // all are waiting for answers: one more connection, opened off the pacing thread
		go func() {
			opened, err := p.open()
			if err != nil {
				p.finish(nil, due, err)
				return
			}
			p.exchange(opened, due)
		}()
		return
	}
	c.due = due
	if err := c.conn.SetDeadline(time.Now().Add(p.s.timeout)); err != nil {
		p.finish(c, due, err)
		return
	}
	if _, err := c.conn.Write(p.s.request); err != nil {
		p.finish(c, due, err)
		return
	}
	go func() { p.finish(c, due, c.answer(p.s)) }()
}

func (p *pacer) exchange(c *paced, due time.Time) {
	p.finish(c, due, c.call(p.s))
}

func (p *pacer) finish(c *paced, due time.Time, err error) {
	ended := time.Now()
	defer p.pending.Done()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if err != nil {
		p.tally.fail(err)
	} else {
		p.tally.total++
		if due.After(p.from) {
			p.tally.samples = append(p.tally.samples, ended.Sub(due))
		}
	}
	if c == nil {
		return
	}
	if err != nil || c.closes {
		c.conn.Close()
		return
	}
	p.idle = append(p.idle, c)
}
