# An executor with WEBrick, which Ruby 3 has as a gem of its own.
#
#     $ gem install webrick
#     $ ruby executor.rb
#     tasks at http://127.0.0.1:8000/
#
# The body of a request is a task as JSON.  2xx is done; after anything else the task
# comes again.  With TASK_SECRET=whsec_... only requests are taken that are signed with
# this secret: a line of the file that "quebert secret" has made.
require "json"
require "net/http"
require "openssl"
require "webrick"

SECRET = ENV.fetch("TASK_SECRET", "").delete_prefix("whsec_").unpack1("m")

# What no further attempt would mend.
class GiveUp < StandardError; end

def greet(params, _lease)
  name = params.is_a?(Hash) && params["name"]
  raise GiveUp, "a greeting needs a name" unless name
  { said: "hello, #{name}" }
end

# Goes on for up to an hour after the answer.
def encode(params, lease)
  raise "the queue has no leases" unless lease
  Thread.new do
    encode_all(params)
    tell("#{lease}:complete", {})
  rescue StandardError => error
    warn error.full_message
    tell("#{lease}:fail", { seconds: 60 })
  end
  :leased
end

def encode_all(params)
  # The work.
end

# Tell quebert, which may be about to start.
def tell(url, body)
  [1, 5, 25, 125].each do |pause|
    headers = { "Content-Type" => "application/json" }
    answer = Net::HTTP.post(URI(url), body.to_json, headers)
    return if answer.is_a?(Net::HTTPSuccess)
    # 409: the lease was lost.
    return warn("the lease: #{answer.body}") unless answer.code == "503"
    sleep pause
  rescue SystemCallError, IOError, Timeout::Error
    sleep pause
  end
end

# Whether a mediator has signed the request, in the last five minutes.
def signed?(request)
  stamp = request["webhook-timestamp"].to_s
  return false unless stamp.match?(/\A\d+\z/) && (Time.now.to_i - stamp.to_i).abs <= 300
  content = "#{request["webhook-id"]}.#{stamp}.".b + request.body.to_s.b
  right = "v1," + [OpenSSL::HMAC.digest("SHA256", SECRET, content)].pack("m0")
  request["webhook-signature"].to_s.split.any? do |each|
    OpenSSL.secure_compare(each, right)
  end
end

FUNCTIONS = { "/hello" => method(:greet), "/encode" => method(:encode) }.freeze

# The status, what is said, and other headers.
def answer(request)
  return [401, "the request is not signed"] if SECRET != "" && !signed?(request)
  function = FUNCTIONS[request.path]
  return [404, "no function does #{request.path}"] unless function
  task = JSON.parse(request.body.to_s)
  return [400, "the body is no task"] unless task.is_a?(Hash)
  result = function.call(task["params"], request["quebert-lease-url"])
  return [202, "it goes on", { "Quebert-Lease" => "3600" }] if result == :leased
  [200, result]
rescue JSON::ParserError
  [400, "the body is no JSON"]
rescue GiveUp => error
  [422, error.message, { "Quebert-Outcome" => "bury; #{error.message}" }]
rescue StandardError => error
  warn error.full_message
  [500, error.message, { "Retry-After" => "5" }]
end

port = Integer(ENV.fetch("PORT", "8000"))
server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: port, AccessLog: [])
server.mount_proc("/") do |request, response|
  status, said, headers = answer(request)
  is_text = said.is_a?(String)
  response.status = status
  response.content_type = is_text ? "text/plain; charset=utf-8" : "application/json"
  (headers || {}).each { |name, value| response[name] = value }
  response.body = is_text ? said : said.to_json
  response.keep_alive = false unless server.status == :Running
end
# Running tasks end, no others begin.
%w[INT TERM].each { |each| trap(each) { server.shutdown } }
server.start
