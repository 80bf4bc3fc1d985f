package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// maxLine is the longest line read (bytes).
const maxLine = 16 << 20

// question holds an ID, a chain with bundles, or a token with key sets; bytes are base64. Now is in UNIX seconds and
// applies to chains; tokens are judged by the clock.
type question struct {
	ID       *string                    `json:"id"`
	Chain    [][]byte                   `json:"chain"`
	Bundles  map[string][][]byte        `json:"bundles"`
	Now      int64                      `json:"now"`
	Token    *string                    `json:"token"`
	JWKS     map[string]json.RawMessage `json:"jwks"`
	Audience string                     `json:"audience"`
}

// verdict is go-spiffe's. ID is the one it read where it said yes.
type verdict struct {
	OK    bool   `json:"ok"`
	ID    string `json:"id"`
	Error string `json:"error"`
}

// verdicts ends with an error at a question that cannot be put, which is a fault of the test and not a verdict.
func verdicts(input io.Reader, answers *json.Encoder) error {
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		judge, err := asked.put()
		if err != nil {
			return err
		}
		id, refusal := judge()
		given := verdict{OK: refusal == nil}
		if refusal == nil {
			given.ID = id.String()
		} else {
			given.Error = refusal.Error()
		}
		if err := answers.Encode(given); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (q question) put() (func() (spiffeid.ID, error), error) {
	switch {
	case q.ID != nil:
		return func() (spiffeid.ID, error) { return spiffeid.FromString(*q.ID) }, nil
	case q.Token != nil:
		return q.putToken()
	case q.Bundles != nil:
		return q.putChain()
	default:
		return nil, errors.New("the line holds neither an id, nor a chain with bundles, nor a token")
	}
}

func (q question) putChain() (func() (spiffeid.ID, error), error) {
	set := x509bundle.NewSet()
	for name, authorities := range q.Bundles {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, err
		}
		bundle := x509bundle.New(domain)
		for _, der := range authorities {
			authority, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("an authority of %s: %w", name, err)
			}
			bundle.AddX509Authority(authority)
		}
		set.Add(bundle)
	}
	return func() (spiffeid.ID, error) {
		id, _, err := x509svid.ParseAndVerify(q.Chain, set, x509svid.WithTime(time.Unix(q.Now, 0)))
		return id, err
	}, nil
}

func (q question) putToken() (func() (spiffeid.ID, error), error) {
	set := jwtbundle.NewSet()
	for name, keys := range q.JWKS {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, err
		}
		bundle, err := jwtbundle.Parse(domain, keys)
		if err != nil {
			return nil, err
		}
		set.Add(bundle)
	}
	return func() (spiffeid.ID, error) {
		svid, err := jwtsvid.ParseAndValidate(*q.Token, set, []string{q.Audience})
		if err != nil {
			return spiffeid.ID{}, err
		}
		return svid.ID, nil
	}, nil
}
