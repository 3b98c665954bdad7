// Tasks over HTTP with Go's standard library: add two, look at one, and delete it.
//
//	$ export QUEBERT_URL=http://localhost:8080 QUEBERT_TOKEN=qbt_...
//	$ go run ./add_task 4711
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

// Task is what a request asks for.
type Task struct {
	URL    string            `json:"url"`
	Params map[string]string `json:"params"`
	Name   string            `json:"name,omitempty"`
	Delay  float64           `json:"delay,omitempty"` // seconds
}

// Answer has what this program reads of all answers.
type Answer struct {
	UUID    string `json:"uuid"`
	Result  string `json:"result"`
	Created struct {
		State string `json:"state"`
	} `json:"created"`
}

var client = http.Client{Timeout: 30 * time.Second}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func call(method, path string, task *Task, key string) (answer Answer, err error) {
	body, err := json.Marshal(task)
	if err != nil {
		return answer, err
	}
	var sent io.Reader
	if task != nil {
		sent = bytes.NewReader(body)
	}
	url := setting("QUEBERT_URL", "http://localhost:8080") + "/v1" + path
	request, err := http.NewRequest(method, url, sent)
	if err != nil {
		return answer, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("QUEBERT_TOKEN"))
	if task != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		problem, _ := io.ReadAll(response.Body) // as JSON
		return answer, fmt.Errorf("%s %s: %s %s", method, path, response.Status, problem)
	}
	return answer, json.NewDecoder(response.Body).Decode(&answer)
}

func run(order string) error {
	hello := setting("EXECUTOR_URL", "http://localhost:8000") + "/hello"

	// The key makes it one task, however often this request is made.
	greeting := Task{
		URL:    hello,
		Params: map[string]string{"name": "Ada"},
		Name:   "greeting-" + order,
	}
	answer, err := call("POST", "/tasks", &greeting, greeting.Name)
	if err != nil {
		return err
	}
	fmt.Println("added", answer.UUID)

	// One that is not due for a week is there, until it is deleted.
	reminder := Task{
		URL:    hello,
		Params: map[string]string{"name": "Ada, again"},
		Name:   "reminder-" + order,
		Delay:  (7 * 24 * time.Hour).Seconds(),
	}
	if answer, err = call("POST", "/tasks", &reminder, ""); err != nil {
		return err
	}
	path := "/tasks/" + answer.UUID
	if answer, err = call("GET", path, nil, ""); err != nil {
		return err
	}
	fmt.Println("state", answer.Created.State)
	if answer, err = call("DELETE", path, nil, ""); err != nil {
		return err
	}
	fmt.Println("result", answer.Result)
	return nil
}

func main() {
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
