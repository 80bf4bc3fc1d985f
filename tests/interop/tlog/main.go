// Command tlog-interop judges a transparency log by the reference libraries of C2SP, and makes notes and proofs with
// them for ours to judge. What it answers are lines of JSON on the standard output.
package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const usage = `usage: tlog-interop COMMAND

  log DIRECTORY POLICY    verify the checkpoint by the policy, every entry, leaf and tile; print size, root and proofs
  proofs                  judge each line of the standard input: an inclusion or a consistency proof
  proof POLICY FILE ENTRY judge a tlog-proof of the entry in a file
  sign ORIGIN             sign and cosign a checkpoint with new keys; print the note and the verifier keys`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tlog-interop:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "log":
		return verifyLog(arguments[1], arguments[2])
	case len(arguments) == 1 && arguments[0] == "proofs":
		return judgeProofs()
	case len(arguments) == 4 && arguments[0] == "proof":
		return judgeProof(arguments[1], arguments[2], arguments[3])
	case len(arguments) == 2 && arguments[0] == "sign":
		return sign(arguments[1])
	}
	return errors.New("no such command\n" + usage)
}

func policyOf(path string) (torchwood.Policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return torchwood.ParsePolicy(text)
}

type inclusion struct {
	Index int64       `json:"index"`
	Size  int64       `json:"size"`
	Proof []tlog.Hash `json:"proof"`
}

type consistency struct {
	Old   int64       `json:"old"`
	New   int64       `json:"new"`
	Proof []tlog.Hash `json:"proof"`
}

// verifyLog reads a log as any client of tlog-tiles does. The hash reader checks every tile against the signed root.
func verifyLog(directory, policyPath string) error {
	ctx := context.Background()
	policy, err := policyOf(policyPath)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return err
	}
	checkpoint, opened, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		return err
	}
	tiles, err := torchwood.NewTileFS(os.DirFS(directory))
	if err != nil {
		return err
	}
	client, err := torchwood.NewClient(tiles)
	if err != nil {
		return err
	}
	tree := tlog.Tree{N: checkpoint.N, Hash: checkpoint.Hash}
	hashes := torchwood.TileHashReaderWithContext(ctx, tree, tiles)
	proofs := []inclusion{}
	for index := int64(0); index < tree.N; index++ {
		entry, proof, err := client.Entry(ctx, tree, index)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		leaves, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return fmt.Errorf("leaf %d: %w", index, err)
		}
		if leaves[0] != tlog.RecordHash(entry) {
			return fmt.Errorf("leaf %d is not the hash of its entry", index)
		}
		proofs = append(proofs, inclusion{index, tree.N, proof})
	}
	trees := []consistency{}
	for old := int64(1); old <= tree.N; old += 1 + old/7 {
		proof, err := tlog.ProveTree(tree.N, old, hashes)
		if err != nil {
			return fmt.Errorf("tree of %d: %w", old, err)
		}
		trees = append(trees, consistency{old, tree.N, proof})
	}
	names := []string{}
	for _, signature := range opened.Sigs {
		names = append(names, signature.Name)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"origin": checkpoint.Origin, "size": tree.N, "root": tree.Hash, "signers": names,
		"inclusion": proofs, "consistency": trees,
	})
}

type claim struct {
	Index   int64       `json:"index"`
	Old     int64       `json:"old"`
	Size    int64       `json:"size"`
	Leaf    *tlog.Hash  `json:"leaf"`
	OldRoot tlog.Hash   `json:"old_root"`
	Root    tlog.Hash   `json:"root"`
	Proof   []tlog.Hash `json:"proof"`
}

func judgeProofs() error {
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var said claim
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			return err
		}
		var err error
		if said.Leaf != nil {
			err = tlog.CheckRecord(said.Proof, said.Size, said.Root, said.Index, *said.Leaf)
		} else {
			err = tlog.CheckTree(said.Proof, said.Size, said.Root, said.Old, said.OldRoot)
		}
		if err := answers.Encode(map[string]bool{"good": err == nil}); err != nil {
			return err
		}
	}
	return lines.Err()
}

func judgeProof(policyPath, proofPath, entryPath string) error {
	policy, err := policyOf(policyPath)
	if err != nil {
		return err
	}
	proof, err := os.ReadFile(proofPath)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(entryPath)
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(policy, tlog.RecordHash(entry), proof)
}

func sign(origin string) error {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	witness, err := torchwood.NewCosignatureSigner("witness.example/go", key)
	if err != nil {
		return err
	}
	checkpoint := torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: 1, Hash: tlog.RecordHash([]byte("entry"))}}
	signed, err := note.Sign(&note.Note{Text: checkpoint.String()}, signer, witness)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"note": string(signed), "log": public, "witness": witness.Verifier().String(),
		"proof": string(torchwood.FormatProof(0, nil, signed)),
	})
}
