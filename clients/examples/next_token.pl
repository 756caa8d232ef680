#!/usr/bin/env perl
# next_token.pl [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (Redis.pm).
use strict;
use warnings;
use Digest::SHA 'sha256_hex';
use JSON::PP;
use Redis;
use Time::HiRes 'alarm';

sub connection {
    my $url = $ENV{REDIS_URL} // 'redis://127.0.0.1:6379';
    my ($user, $password, $server, $database) = $url =~ m{^redis://(?:([^:@]*):([^@]*)@)?([^/?#]+)/?(\d*)$}
        or fail(75, 'REDIS_URL?');
    my $redis = Redis->new(server => $server, $password ? (password => $password) : (), $user ? (username => $user) : ());
    $redis->select($database) if $database;
    return $redis;
}

sub fail {
    my ($code, $message) = @_;
    print STDERR "$message\n";
    exit $code;
}

sub next_token {
    my ($refused, $patience) = @_;
    my $named = $refused eq '' ? '' : substr sha256_hex($refused), 0, 16;
    my $report = $named ? { fingerprint => $named, reason => '401', source => 'next_token.pl' } : {};
    local $SIG{ALRM} = sub { fail(75, "no outcome in $patience s") };
    alarm $patience;
    my ($redis, $subscriber) = (connection(), connection());
    my $look = sub {
        my $token = $redis->get('chitai_gorod_token') // '';
        return $token eq $refused ? '' : $token;
    };
    my $receive = sub {
        my $event = decode_json($_[0]);
        fail(75, $event->{error}) if $event->{event} eq 'token:failed';
        return if $event->{fingerprint} eq $named;    # this answers another client
        my $token = $look->();
        die { token => $token } if $token;            # leaves wait_for_messages
    };
    $subscriber->subscribe('chitai_gorod:token:updated', 'chitai_gorod:token:failed', $receive);
    my $token = $look->();                            # both channels are confirmed
    return $token if $token;
    $redis->publish('chitai_gorod:token:invalid', encode_json($report)) or fail(69, 'no sidecar listens');
    eval { $subscriber->wait_for_messages(undef) };
    return ref $@ ? $@->{token} : die $@;
}

my $token = eval { next_token($ARGV[0] // '', $ARGV[1] // 60) } // fail(75, $@);
print "$token\n";
