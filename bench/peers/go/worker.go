// amqp091-go and net/http: what one writes by hand, for just this.
//
//	worker AMQP_URL QUEUE CONCURRENCY TIMEOUT
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Whether the whole answer to the task is a 2xx.
func posted(client *http.Client, body []byte) bool {
	var task struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(body, &task) != nil {
		return false
	}
	answer, err := client.Post(task.URL, "application/json", bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err == nil && answer.StatusCode >= 200 && answer.StatusCode < 300
}

func number(text string) int {
	found, err := strconv.Atoi(text)
	check(err)
	return found
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	url, queue := os.Args[1], os.Args[2]
	concurrency, timeout := number(os.Args[3]), number(os.Args[4])

	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = concurrency
	client := &http.Client{Transport: transport, Timeout: time.Duration(timeout) * time.Second}

	connection, err := amqp.Dial(url)
	check(err)
	channel, err := connection.Channel()
	check(err)
	check(channel.Qos(concurrency, 0, false))
	_, err = channel.QueueDeclare(queue, true, false, false, false, nil)
	check(err)
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	check(err)

	for delivery := range deliveries {
		go func(delivery amqp.Delivery) {
			if posted(client, delivery.Body) {
				delivery.Ack(false)
			} else {
				delivery.Nack(false, true)
			}
		}(delivery)
	}
}
