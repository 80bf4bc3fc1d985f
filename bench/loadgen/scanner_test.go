package main

import (
	"strings"
	"testing"
)

func TestScannerCountsEveryEventWhateverThePiecesAre(t *testing.T) {
	body := strings.Repeat("data: {\"n\":1}\n\n", 5) + "data: [DONE]\n\n"
	for size := 1; size <= len(body); size++ {
		scan := scanner{}
		events := 0
		for at := 0; at < len(body); at += size {
			end := at + size
			if end > len(body) {
				end = len(body)
			}
			events += scan.count([]byte(body[at:end]))
		}
		if events != 5 {
			t.Errorf("pieces of %d bytes: counted %d events, want 5", size, events)
		}
	}
}
