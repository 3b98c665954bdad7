# Tasks over HTTP with Ruby's standard library: add two, look at one, and delete it.
#
#     $ export QUEBERT_URL=http://localhost:8080 QUEBERT_TOKEN=qbt_...
#     $ ruby add_task.rb 4711
require "json"
require "net/http"

API = URI("#{ENV.fetch("QUEBERT_URL", "http://localhost:8080")}/v1")
EXECUTOR = ENV.fetch("EXECUTOR_URL", "http://localhost:8000")

def call(http, method, path, body = nil, key: nil)
  headers = { "Authorization" => "Bearer #{ENV.fetch("QUEBERT_TOKEN")}" }
  headers["Content-Type"] = "application/json" if body
  headers["Idempotency-Key"] = key if key
  answer = http.send_request(method, API.path + path, body&.to_json, headers)
  # The problem, as JSON.
  abort "#{method} #{path}: #{answer.code} #{answer.body}" unless answer.is_a?(Net::HTTPSuccess)
  JSON.parse(answer.body)
end

order = ARGV.fetch(0)
options = { use_ssl: API.scheme == "https", read_timeout: 30 }
Net::HTTP.start(API.host, API.port, options) do |http|
  # The key makes it one task, however often this request is made.
  greeting = {
    url: "#{EXECUTOR}/hello", params: { name: "Ada" }, name: "greeting-#{order}"
  }
  task = call(http, "POST", "/tasks", greeting, key: "greeting-#{order}")
  puts "added #{task["uuid"]}"

  # One that is not due for a week is there, until it is deleted.
  reminder = {
    url: "#{EXECUTOR}/hello", params: { name: "Ada, again" },
    name: "reminder-#{order}", delay: 7 * 86_400
  }
  uuid = call(http, "POST", "/tasks", reminder)["uuid"]
  task = call(http, "GET", "/tasks/#{uuid}")
  puts "state #{task["created"]["state"]}"
  puts "result #{call(http, "DELETE", "/tasks/#{uuid}")["result"]}"
end
