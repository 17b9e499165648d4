// SPDX-License-Identifier: Apache-2.0
//
// The types of core_program.c as "kernels" have them; compiled once per -DKERNEL=N. Only the BTF is
// used.
//
//   1  the same                    4  a second struct of the name that agrees
//   2  moved, wider, renamed       5  a second struct that does not: ambiguous
//   3  almost nothing is there     6  fields of other kinds; bitfields become whole fields
typedef int packet_id;

#if KERNEL == 1 || KERNEL == 4 || KERNEL == 5
enum shade { SHADE_LIGHT = 1, SHADE_DARK = 2, SHADE_GONE = 9 };
enum wide_shade { WIDE_SMALL = 1, WIDE_BIG = 0x100000000 };
struct inner {
  int first;
  int row[4];
};
struct packet {
  int length;
  unsigned short port;
  void* owner;
  struct inner inner;
  unsigned flag_a : 3;
  int flag_b : 5;
  enum shade shade;
  union {
    int in_union;
    char as_bytes[4];
  };
  int absent;
  char tail[];
};
typedef int (*callback)(struct packet*, int);
struct access {
  unsigned int number;
  unsigned short small;
  void* pointer;
};
#if KERNEL == 4
struct packet___2 {
  int length;
  unsigned short port;
  long other;
  struct inner inner;
  unsigned flag_a : 3;
  int flag_b : 5;
  enum shade shade;
  union {
    int in_union;
  };
  int absent;
  char tail[];
};
struct packet___2 second;
#elif KERNEL == 5
struct packet___2 {
  long before;
  int length;
  unsigned short port;
};
struct packet___2 second;
#endif
#elif KERNEL == 2
enum shade { SHADE_DARK = 77, SHADE_LIGHT = 1 };
enum wide_shade { WIDE_SMALL___now = 1, WIDE_BIG___now = 0x200000000 };
struct inner {
  long before;
  long row[8];
  int first;
};
struct packet {
  struct {
    long before;
    struct {
      unsigned int port;
      union {
        long x;
        long in_union;
      };
    };
  };
  unsigned long flag_b : 40;
  unsigned long flag_a : 7;
  long size;
  struct inner inner;
  long length;
  void* owner;
  char tail[];
};
typedef long (*callback)(struct packet*, int);
struct access {
  void* pointer;
  unsigned long number;
  unsigned char small;
};
#elif KERNEL == 3
enum shade { OTHER = 1 };
enum wide_shade { WIDE_OTHER = 1 };
struct inner {
  int nothing;
};
struct packet {
  long length;
};
typedef int (*callback)(void);
struct access {
  int number;
  int small;
};
#else
enum shade { SHADE_LIGHT = 1, SHADE_DARK = -2, SHADE_GONE = 9 };
struct inner {
  char first;
  char row[2];
};
struct packet {
  int* length;
  struct {
    int port;
  } port;
  int owner;
  struct inner inner;
  int flag_a;
  long flag_b;
  int tail;
};
typedef int (*callback)(struct packet*, long);
struct access {
  int number;
  short small;
  int pointer;
};
enum wide_shade { WIDE_SMALL = 1, WIDE_BIG = 3 };
#endif

struct packet packet;
struct access access;
packet_id id;
callback call;
enum wide_shade wide;
enum shade shade;
