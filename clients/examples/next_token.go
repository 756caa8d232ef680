// next_token [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (the standard library alone).
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"
)

var errNobodyListens = errors.New("no sidecar listens")

// A connection to Redis; use a client library where there is one.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

func dial(deadline time.Time) (*connection, error) {
	address := os.Getenv("REDIS_URL")
	if address == "" {
		address = "redis://127.0.0.1:6379"
	}
	where, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("REDIS_URL is no URL")
	}
	conn, err := net.DialTimeout("tcp", where.Host, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	c := &connection{conn, bufio.NewReader(conn)}
	if password, ok := where.User.Password(); ok {
		user := where.User.Username()
		if user == "" {
			user = "default"
		}
		if _, err := c.ask("AUTH", user, password); err != nil {
			return nil, err
		}
	}
	return c, conn.SetDeadline(deadline)
}

func (c *connection) ask(words ...string) (any, error) {
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(c, text); err != nil {
		return nil, err
	}
	return c.answer()
}

func (c *connection) answer() (any, error) {
	line, err := c.answers.ReadString('\n')
	if err != nil || len(line) < 3 {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	rest := line[1 : len(line)-2]
	number, _ := strconv.Atoi(rest)
	switch line[0] {
	case '-':
		return nil, errors.New(rest)
	case ':':
		return number, nil
	case '$':
		if number < 0 {
			return "", nil
		}
		bytes := make([]byte, number+2)
		_, err := io.ReadFull(c.answers, bytes)
		return string(bytes[:number]), err
	case '*':
		list := make([]any, number)
		for i := range list {
			if list[i], err = c.answer(); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return rest, nil
}

func nextToken(refused string, patience time.Duration) (string, error) {
	deadline := time.Now().Add(patience)
	redis, err := dial(deadline)
	if err != nil {
		return "", err
	}
	defer redis.Close()
	ear, err := dial(deadline)
	if err != nil {
		return "", err
	}
	defer ear.Close()
	report := map[string]string{}
	if refused != "" {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(refused)))
		report = map[string]string{"fingerprint": sum[:16], "reason": "401", "source": "next_token.go"}
	}
	message, err := ear.ask("SUBSCRIBE", "chitai_gorod:token:updated", "chitai_gorod:token:failed")
	for ; err == nil; message, err = ear.answer() {
		heard, confirmed := message.([]any), false
		if heard[0] == "subscribe" {
			if confirmed = heard[2] == 2; !confirmed {
				continue
			}
		} else {
			var event struct{ Event, Error, Fingerprint string }
			if err := json.Unmarshal([]byte(heard[2].(string)), &event); err != nil {
				return "", err
			}
			if event.Event == "token:failed" {
				return "", errors.New(event.Error)
			}
			if event.Fingerprint == report["fingerprint"] {
				continue // an answer to somebody else
			}
		}
		token, err := redis.ask("GET", "chitai_gorod_token")
		if err != nil {
			return "", err
		}
		if token != "" && token != refused {
			return token.(string), nil
		}
		if confirmed {
			details, _ := json.Marshal(report)
			if heard, err := redis.ask("PUBLISH", "chitai_gorod:token:invalid", string(details)); err != nil {
				return "", err
			} else if heard == 0 {
				return "", errNobodyListens
			}
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", fmt.Errorf("no outcome in %v", patience)
	}
	return "", err
}

func main() {
	arguments := append(os.Args[1:], "", "")
	patience := 60 * time.Second
	if seconds, err := strconv.ParseFloat(arguments[1], 64); err == nil {
		patience = time.Duration(seconds * float64(time.Second))
	}
	token, err := nextToken(arguments[0], patience)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if err == errNobodyListens {
			os.Exit(69)
		}
		os.Exit(75)
	}
	fmt.Println(token)
}
