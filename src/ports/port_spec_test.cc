// SPDX-License-Identifier: Apache-2.0
//
// Goal: every port specification is taken apart as documented or refused with the word that is
// wrong. Method: tables of specifications with their parts and with their messages, judged by the
// real drivers where no right is needed.
#include "ports/port_spec.h"

#include <gtest/gtest.h>

#include "ports/port.h"

namespace lmn {
namespace {

struct GoodSpec {
  std::string_view text;
  std::string_view driver;
  std::vector<std::string> names;
  std::vector<std::pair<std::string, std::string>> options;
};

TEST(PortSpec, TakesSpecificationsApart) {
  const GoodSpec cases[] = {
      {"eth1", "packet", {"eth1"}, {}},
      {"eth0.100", "packet", {"eth0.100"}, {}},
      {"packet:eth1", "packet", {"eth1"}, {}},
      {"memory", "memory", {}, {}},
      {"memory:", "memory", {}, {}},
      {"memory:m1,mtu=100", "memory", {"m1"}, {{"mtu", "100"}}},
      {"veth:a,b", "veth", {"a", "b"}, {}},
      {"pcap:in=a.pcap,out=b.pcap", "pcap", {}, {{"in", "a.pcap"}, {"out", "b.pcap"}}},
      {"pcap:in=a\\,b=c\\\\.pcap", "pcap", {}, {{"in", "a,b=c\\.pcap"}}},
      {"pcap:in=", "pcap", {}, {{"in", ""}}},
      {"tap:name=lmn0,addr=10.0.0.1/24,addr=fd00::1/64,persist",
       "tap",
       {"persist"},
       {{"name", "lmn0"}, {"addr", "10.0.0.1/24"}, {"addr", "fd00::1/64"}}},
  };
  for (const GoodSpec& good : cases) {
    const auto spec = parse_port_spec(good.text);
    ASSERT_TRUE(spec.has_value()) << good.text << ": " << spec.error().to_string();
    EXPECT_EQ(spec->driver, good.driver) << good.text;
    EXPECT_EQ(spec->names, good.names) << good.text;
    ASSERT_EQ(spec->options.size(), good.options.size()) << good.text;
    for (std::size_t i = 0; i < good.options.size(); ++i) {
      EXPECT_EQ(spec->options[i].key, good.options[i].first) << good.text;
      EXPECT_EQ(spec->options[i].value, good.options[i].second) << good.text;
    }
  }
}

Error open_error(std::string_view text) {
  auto pool = FramePool::create(4);
  SystemClock clock;
  PortResources resources;
  resources.pool = &*pool;
  resources.clock = &clock;
  const auto spec = parse_port_spec(text);
  if (!spec) return spec.error();
  const auto ports = open_port(*spec, resources);
  return ports ? Error{ErrorCode::kInternal, "no error", "", "", 0} : ports.error();
}

struct BadSpec {
  std::string_view text;
  std::string_view message;  // a part of it
};

TEST(PortSpec, RefusesWithTheGuiltyWord) {
  const BadSpec cases[] = {
      {"", "empty port specification"},
      {"eth0:1", "no port driver 'eth0'"},
      {"a,b", "no port driver 'a'"},
      {"dpkd:net_ring0", "no port driver 'dpkd'"},
      {"a-name-that-is-long", "at most 15 characters, this has 19"},
      {"veth:a,,b", "an empty word"},
      {"veth:=a,b", "an empty word"},
      {"pcap:in=a\\", "ends with a backslash"},
      {"veth:a", "1 of 2 names given"},
      {"veth:a,a", "same name"},
      {"veth:a,b,c", "unknown word 'c'"},
      {"veth:a,b,speed=10", "unknown option 'speed'"},
      {"veth:a,b,mtu=1,mtu=2", "option 'mtu' given twice"},
      {"veth:a,b,mtu=67", "mtu=67: not within 68 to 3502"},
      {"veth:a,b,mtu=3503", "mtu=3503: not within 68 to 3502"},
      {"veth:a,b,mtu=1k", "mtu=1k: not a decimal number"},
      {"veth:a,b,mtu=", "mtu=: not a decimal number"},
      {"pcap:", "neither in= nor out="},
      {"pcap:loop=2,out=x", "loop= without in="},
      {"pcap:a.pcap", "unknown word 'a.pcap'"},
      {"pcap:in=/nonexistent/a.pcap", "No such file"},
      {"pcap:in=/", "is a directory"},
      {"memory:a,b", "unknown word 'b'"},
  };
  for (const BadSpec& bad : cases) {
    const Error error = open_error(bad.text);
    EXPECT_NE(error.message.find(bad.message), std::string::npos)
        << bad.text << ": " << error.to_string();
  }
  EXPECT_EQ(open_error("veth:a,b,speed=10").remedy, "syntax: veth:NAME,NAME[,mtu=N]");
}

TEST(PortSpec, OwnPortsGetTheirOwnNumbers) {
  auto pool = FramePool::create(4);
  SystemClock clock;
  PortResources resources;
  resources.pool = &*pool;
  resources.clock = &clock;
  const auto pair = open_port(*parse_port_spec("veth:a,b"), resources);
  const auto memory = open_port(*parse_port_spec("memory"), resources);
  ASSERT_TRUE(pair.has_value());
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ((*pair)[0]->info().ifindex, kFirstOwnIfindex);
  EXPECT_EQ((*pair)[1]->info().ifindex, kFirstOwnIfindex + 1);
  EXPECT_EQ((*memory)[0]->info().ifindex, kFirstOwnIfindex + 2);
  EXPECT_NE((*pair)[0]->info().mac, (*pair)[1]->info().mac);
  EXPECT_EQ((*pair)[0]->info().mac[0] & 3, 2) << "locally administered, not multicast";
  EXPECT_EQ((*memory)[0]->info().name, "memory");
}

}  // namespace
}  // namespace lmn
