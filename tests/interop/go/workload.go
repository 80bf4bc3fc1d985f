package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// x509Context is an X.509 context in JSON. Serial numbers are hexadecimal.
type x509Context struct {
	SVIDs   []x509SVID          `json:"svids"`
	Bundles map[string][]string `json:"bundles"`
}

type x509SVID struct {
	ID           string `json:"id"`
	Hint         string `json:"hint"`
	Serial       string `json:"serial"`
	NotAfter     int64  `json:"not_after"`
	Certificates int    `json:"certificates"`
}

func describe(from *workloadapi.X509Context) x509Context {
	described := x509Context{SVIDs: []x509SVID{}, Bundles: map[string][]string{}}
	for _, svid := range from.SVIDs {
		leaf := svid.Certificates[0]
		described.SVIDs = append(described.SVIDs, x509SVID{
			ID: svid.ID.String(), Hint: svid.Hint, Serial: leaf.SerialNumber.Text(16), NotAfter: leaf.NotAfter.Unix(),
			Certificates: len(svid.Certificates),
		})
	}
	for _, bundle := range from.Bundles.Bundles() {
		serials := []string{}
		for _, authority := range bundle.X509Authorities() {
			serials = append(serials, authority.SerialNumber.Text(16))
		}
		described.Bundles[bundle.TrustDomain().Name()] = serials
	}
	return described
}

func fetch(ctx context.Context, answers *json.Encoder) error {
	found, err := workloadapi.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	return answers.Encode(describe(found))
}

// printer is told of every push by go-spiffe, from one goroutine; its errors end the watch.
type printer struct {
	answers *json.Encoder
	fail    func(error)
}

func (p *printer) OnX509ContextUpdate(pushed *workloadapi.X509Context) {
	if err := p.answers.Encode(describe(pushed)); err != nil {
		p.fail(err)
	}
}

// OnX509ContextWatchError prints what the stream said; go-spiffe connects again by itself.
func (p *printer) OnX509ContextWatchError(err error) {
	if status.Code(err) == codes.Canceled {
		return
	}
	if err := p.answers.Encode(map[string]string{"error": err.Error(), "code": status.Code(err).String()}); err != nil {
		p.fail(err)
	}
}

func watch(ctx context.Context, input io.Reader, answers *json.Encoder) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := errors.New("the standard input ended")
	go func() {
		_, err := io.Copy(io.Discard, input)
		cancel(errors.Join(ended, err))
	}()
	var once sync.Once
	watcher := &printer{answers: answers, fail: func(err error) { once.Do(func() { cancel(err) }) }}
	err := workloadapi.WatchX509Context(ctx, watcher)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, ended) {
		return nil
	}
	return err
}

func fetchToken(ctx context.Context, audience string, answers *json.Encoder) error {
	// Not from the source: that waits for as long as the Workload API refuses, and a refusal is an answer here.
	fetched, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	source, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	here, err := jwtsvid.ParseAndValidate(fetched.Marshal(), source, []string{audience})
	if err != nil {
		return fmt.Errorf("refused here: %w", err)
	}
	there, err := workloadapi.ValidateJWTSVID(ctx, fetched.Marshal(), audience)
	if err != nil {
		return fmt.Errorf("refused by the Workload API: %w", err)
	}
	_, elsewhere := jwtsvid.ParseAndValidate(fetched.Marshal(), source, []string{audience + "-of-another"})
	_, elsewhereThere := workloadapi.ValidateJWTSVID(ctx, fetched.Marshal(), audience+"-of-another")
	return answers.Encode(map[string]any{
		"id": here.ID.String(), "id_by_api": there.ID.String(), "audience": here.Audience, "hint": fetched.Hint,
		"expiry": here.Expiry.Unix(), "claims": here.Claims, "token": fetched.Marshal(),
		"refused_elsewhere": elsewhere != nil, "refused_elsewhere_by_api": status.Code(elsewhereThere).String(),
	})
}
