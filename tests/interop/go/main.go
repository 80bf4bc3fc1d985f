// Command spiffe-interop drives go-spiffe for the interop tests: as a client of the Workload API, as a client of the
// gateway, and as a second opinion on SPIFFE IDs and SVIDs. What it answers are lines of JSON on the standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: spiffe-interop COMMAND

  fetch                      print the X.509 context
  watch                      print every X.509 context that is pushed, until the standard input ends
  jwt AUDIENCE               fetch a JWT-SVID, validate it here and by the Workload API, and print what it says
  call URL SERVER-ID [BODY]  post the body, or each line of the standard input, over mutual TLS to that server
  verdicts                   judge each line of the standard input: an ID, a chain or a token

The Workload API is at the address in SPIFFE_ENDPOINT_SOCKET.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "spiffe-interop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	answers := json.NewEncoder(os.Stdout)
	if len(arguments) == 0 {
		return fmt.Errorf("no command\n%s", usage)
	}
	command, rest := arguments[0], arguments[1:]
	switch {
	case command == "fetch" && len(rest) == 0:
		return fetch(ctx, answers)
	case command == "watch" && len(rest) == 0:
		return watch(ctx, os.Stdin, answers)
	case command == "jwt" && len(rest) == 1:
		return fetchToken(ctx, rest[0], answers)
	case command == "call" && (len(rest) == 2 || len(rest) == 3):
		return call(ctx, rest[0], rest[1], rest[2:], os.Stdin, answers)
	case command == "verdicts" && len(rest) == 0:
		return verdicts(os.Stdin, answers)
	default:
		return fmt.Errorf("%q is no command, or takes other arguments\n%s", command, usage)
	}
}
