// An executor with Go's standard library.
//
//	$ go run ./executor
//	tasks at http://127.0.0.1:8000/
//
// The body of a request is a task as JSON.  2xx is done; after anything else the task
// comes again.  With TASK_SECRET=whsec_... only requests are taken that are signed with
// this secret: a line of the file that "quebert secret" has made.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const largest = 16 << 20 // bytes, as much as a task may have

var secret, _ = base64.StdEncoding.DecodeString(
	strings.TrimPrefix(os.Getenv("TASK_SECRET"), "whsec_"))

// Task is what comes.
type Task struct {
	UUID   string          `json:"uuid"` // the same in all attempts
	Params json.RawMessage `json:"params"`
}

// GiveUp is what no further attempt would mend.
type GiveUp string

func (reason GiveUp) Error() string { return string(reason) }

var errLeased = errors.New("it goes on")

func greet(task Task, lease string) (any, error) {
	var params struct{ Name string }
	if json.Unmarshal(task.Params, &params) != nil || params.Name == "" {
		return nil, GiveUp("a greeting needs a name")
	}
	return map[string]string{"said": "hello, " + params.Name}, nil
}

// Goes on for up to an hour after the answer.
func encode(task Task, lease string) (any, error) {
	if lease == "" {
		return nil, errors.New("the queue has no leases")
	}
	go func() {
		action, body := ":complete", "{}"
		if err := encodeAll(task); err != nil {
			log.Print(err)
			action, body = ":fail", `{"seconds": 60}`
		}
		if err := tell(lease+action, body); err != nil {
			log.Print(err)
		}
	}()
	return nil, errLeased
}

func encodeAll(task Task) error {
	return nil // The work.
}

// Tells quebert, which may be about to start.
func tell(url, body string) (err error) {
	for _, pause := range []time.Duration{1, 5, 25, 125} {
		var answer *http.Response
		answer, err = http.Post(url, "application/json", strings.NewReader(body))
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode < 300 {
				return nil
			}
			err = fmt.Errorf("the lease: %s", answer.Status)
			if answer.StatusCode != http.StatusServiceUnavailable {
				return err // 409: the lease was lost
			}
		}
		time.Sleep(pause * time.Second)
	}
	return err
}

// Whether a mediator has signed the request, in the last five minutes.
func isSigned(header http.Header, body []byte) bool {
	stamp := header.Get("Webhook-Timestamp")
	second, err := strconv.ParseInt(stamp, 10, 64)
	age := time.Since(time.Unix(second, 0))
	if err != nil || age < -5*time.Minute || age > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", header.Get("Webhook-Id"), stamp)
	mac.Write(body)
	right := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, each := range strings.Fields(header.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(each), []byte(right)) {
			return true
		}
	}
	return false
}

func does(function func(Task, string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		if len(secret) > 0 && !isSigned(r.Header, body) {
			http.Error(w, "the request is not signed", http.StatusUnauthorized)
			return
		}
		var task Task
		if err := json.Unmarshal(body, &task); err != nil {
			http.Error(w, "the body is no task: "+err.Error(), http.StatusBadRequest)
			return
		}
		result, err := function(task, r.Header.Get("Quebert-Lease-URL"))
		var reason GiveUp
		switch {
		case errors.As(err, &reason):
			w.Header().Set("Quebert-Outcome", "bury; "+err.Error())
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		case errors.Is(err, errLeased):
			w.Header().Set("Quebert-Lease", "3600")
			w.WriteHeader(http.StatusAccepted)
		case err != nil:
			w.Header().Set("Retry-After", "5")
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			var said bytes.Buffer
			json.NewEncoder(&said).Encode(result)
			w.Header().Set("Content-Type", "application/json")
			w.Write(said.Bytes())
		}
	}
}

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8000"
	}
	http.HandleFunc("/hello", does(greet))
	http.HandleFunc("/encode", does(encode))
	server := http.Server{Addr: "127.0.0.1:" + port, IdleTimeout: time.Minute}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() {
		log.Printf("tasks at http://127.0.0.1:%s/", port)
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-told.Done() // running tasks end, no others begin
	server.Shutdown(context.Background())
}
