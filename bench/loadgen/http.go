package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

const readBuffer = 64 << 10

var (
	headEnd    = []byte("\r\n\r\n")
	errChunk   = errors.New("malformed chunk")
	errHead    = errors.New("malformed response head")
	errUnknown = errors.New("response has neither content-length nor chunked encoding")
)

// client is one kept-alive HTTP/1.1 connection that repeats the same request.
type client struct {
	conn    net.Conn
	buf     []byte
	start   int // first unread byte of buf
	end     int // one past the last read byte of buf
	chunked bool
	length  int
	closes  bool
}

func dial(s *settings) (*client, error) {
	conn, err := net.DialTimeout("tcp", s.address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, buf: make([]byte, readBuffer)}, nil
}

// fill reads more bytes, making room first.
func (c *client) fill() error {
	if c.start > 0 {
		copy(c.buf, c.buf[c.start:c.end])
		c.end -= c.start
		c.start = 0
	}
	if c.end == len(c.buf) {
		return errors.New("response head or line larger than the buffer")
	}
	n, err := c.conn.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}

// readHead consumes a response head; a status other than 200 is an error that quotes the answer.
func (c *client) readHead() error {
	for {
		at := bytes.Index(c.buf[c.start:c.end], headEnd)
		if at >= 0 {
			return c.parseHead(at)
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

func (c *client) parseHead(at int) error {
	head := bytes.ToLower(c.buf[c.start : c.start+at+2])
	c.start += at + len(headEnd)
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("http/1.1 ")) {
		return errHead
	}
	if status := string(head[9:12]); status != "200" {
		return fmt.Errorf("status %s: %.300s", status, c.buf[c.start:c.end])
	}
	c.closes = bytes.Contains(head, []byte("\r\nconnection: close\r\n"))
	c.chunked = bytes.Contains(head, []byte("\r\ntransfer-encoding: chunked\r\n"))
	if c.chunked {
		return nil
	}
	const name = "\r\ncontent-length: "
	from := bytes.Index(head, []byte(name))
	if from < 0 {
		return errUnknown
	}
	from += len(name)
	length, err := strconv.Atoi(string(head[from : from+bytes.IndexByte(head[from:], '\r')]))
	c.length = length
	return err
}

// readBody hands every piece of the body to see, in order.
func (c *client) readBody(see func([]byte)) error {
	if !c.chunked {
		return c.readSpan(c.length, see)
	}
	for {
		size, err := c.readChunkSize()
		if err != nil {
			return err
		}
		if size == 0 {
			return c.skipTrailers()
		}
		if err := c.readSpan(size, see); err != nil {
			return err
		}
		if err := c.readSpan(2, func([]byte) {}); err != nil {
			return err
		}
	}
}

func (c *client) readSpan(length int, see func([]byte)) error {
	for length > 0 {
		if c.start == c.end {
			if err := c.fill(); err != nil {
				return err
			}
		}
		take := c.end - c.start
		if take > length {
			take = length
		}
		see(c.buf[c.start : c.start+take])
		c.start += take
		length -= take
	}
	return nil
}

func (c *client) readLine() ([]byte, error) {
	for {
		if at := bytes.IndexByte(c.buf[c.start:c.end], '\n'); at >= 0 {
			line := bytes.TrimRight(c.buf[c.start:c.start+at], "\r")
			c.start += at + 1
			return line, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *client) readChunkSize() (int, error) {
	line, err := c.readLine()
	if err != nil {
		return 0, err
	}
	if at := bytes.IndexByte(line, ';'); at >= 0 {
		line = line[:at]
	}
	size, err := strconv.ParseInt(string(line), 16, 32)
	if err != nil || size < 0 {
		return 0, errChunk
	}
	return int(size), nil
}

func (c *client) skipTrailers() error {
	for {
		line, err := c.readLine()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

// answer reads one whole answer and checks it for the expected text.
func (c *client) answer(s *settings) error {
	if err := c.readHead(); err != nil {
		return err
	}
	found := len(s.expect) == 0
	err := c.readBody(func(piece []byte) {
		found = found || bytes.Contains(piece, s.expect)
	})
	if err == nil && !found {
		err = fmt.Errorf("the answer lacks %q", s.expect)
	}
	return err
}

// call sends the request and reads its answer.
func (c *client) call(s *settings) error {
	if err := c.conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(s.request); err != nil {
		return err
	}
	return c.answer(s)
}
