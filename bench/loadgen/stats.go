package main

import (
	"math"
	"sort"
	"time"
)

// summary returns percentiles in microseconds, by nearest rank.
func summary(samples []time.Duration) map[string]float64 {
	if len(samples) == 0 {
		return nil
	}
	sort.Slice(samples, func(i, j int) bool { return samples[i] < samples[j] })
	micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	rank := func(p float64) float64 {
		at := int(math.Ceil(p*float64(len(samples)))) - 1
		if at < 0 {
			at = 0
		}
		return micros(samples[at])
	}
	var sum time.Duration
	for _, sample := range samples {
		sum += sample
	}
	return map[string]float64{
		"min":  micros(samples[0]),
		"p50":  rank(0.50),
		"p90":  rank(0.90),
		"p99":  rank(0.99),
		"p999": rank(0.999),
		"max":  micros(samples[len(samples)-1]),
		"mean": micros(sum) / float64(len(samples)),
	}
}

// tally is what one connection measured.
type tally struct {
	samples    []time.Duration
	total      int
	errors     int
	firstError string
	events     int
	allEvents  int
	finished   int
	waiting    int
}

func (t *tally) fail(err error) {
	t.errors++
	if t.firstError == "" {
		t.firstError = err.Error()
	}
}

func (r *result) add(t *tally) {
	r.Requests += len(t.samples)
	r.RequestsTotal += t.total
	r.Errors += t.errors
	r.Events += t.events
	r.EventsTotal += t.allEvents
	r.Streams += t.finished
	r.Waiting += t.waiting
	if r.FirstError == "" {
		r.FirstError = t.firstError
	}
}
