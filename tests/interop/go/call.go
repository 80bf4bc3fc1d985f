package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	callTimeout   = 20 * time.Second
	maxAnswerSize = 1 << 20
)

// answer is what one call brought. Serial is that of the SVID the source held, in hexadecimal.
type answer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
	Server string `json:"server"`
	Serial string `json:"serial"`
	Error  string `json:"error"`
}

// call posts one body, or each line of the input, each over a connection of its own. The X509Source stays open from
// first to last, so that the calls show what a long-lived program presents.
func call(
	ctx context.Context, url, server string, body []string, input io.Reader, answers *json.Encoder,
) error {
	expected, err := spiffeid.FromString(server)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	if len(body) == 1 {
		return answers.Encode(post(ctx, source, expected, url, body[0]))
	}
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := answers.Encode(post(ctx, source, expected, url, lines.Text())); err != nil {
			return err
		}
	}
	return lines.Err()
}

func post(ctx context.Context, source *workloadapi.X509Source, expected spiffeid.ID, url, body string) answer {
	var brought answer
	if err := try(ctx, source, expected, url, body, &brought); err != nil {
		brought.Error = err.Error()
	}
	return brought
}

func try(
	ctx context.Context, source *workloadapi.X509Source, expected spiffeid.ID, url, body string, into *answer,
) (err error) {
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	into.Serial = svid.Certificates[0].SerialNumber.Text(16)
	mode := spiffetls.MTLSClientWithSource(tlsconfig.AuthorizeID(expected), source)
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := spiffetls.DialWithMode(ctx, network, address, mode)
			if err != nil {
				return nil, err
			}
			id, err := spiffetls.PeerIDFromConn(connection)
			if err != nil {
				return nil, errors.Join(err, connection.Close())
			}
			into.Server = id.String()
			return connection, nil
		},
	}
	client := &http.Client{Transport: transport, Timeout: callTimeout}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the call failed: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	into.Status = response.StatusCode
	read, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerSize))
	into.Body = string(read)
	return err
}
