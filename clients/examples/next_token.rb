#!/usr/bin/env ruby
# next_token.rb [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (redis-rb).
require "digest"
require "json"
require "redis"
require "timeout"

REDIS = Redis.new(url: ENV.fetch("REDIS_URL", "redis://127.0.0.1:6379"))

class NobodyListens < StandardError; end

def next_token(refused = nil, patience = 60)
  named = Digest::SHA256.hexdigest(refused)[0, 16] if refused
  report = refused ? { fingerprint: named, reason: "401", source: "next_token.rb" } : {}
  look = lambda do
    token = REDIS.get("chitai_gorod_token")
    token unless token == refused
  end
  subscriber = REDIS.dup
  Timeout.timeout(patience, Timeout::Error, "no outcome in #{patience} s") do
    subscriber.subscribe("chitai_gorod:token:updated", "chitai_gorod:token:failed") do |on|
      on.subscribe do |_channel, confirmed|
        next if confirmed < 2
        token = look.call and return token
        receivers = REDIS.publish("chitai_gorod:token:invalid", JSON.generate(report))
        raise NobodyListens, "no sidecar listens" if receivers.zero?
      end
      on.message do |_channel, text|
        event = JSON.parse(text)
        raise event["error"] if event["event"] == "token:failed"
        next if event["fingerprint"] == named # this answers another client
        token = look.call and return token
      end
    end
  end
ensure
  subscriber&.close
end

begin
  puts next_token(ARGV[0], Float(ARGV[1] || 60))
rescue NobodyListens => error
  warn error.message
  exit 69
rescue StandardError => error
  warn error.message
  exit 75
end
