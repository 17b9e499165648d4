// SPDX-License-Identifier: Apache-2.0
//
// Types of every kind that clang makes BTF of, and shapes of them that are awkward to write in C
// again: gaps, bit-fields, packed structs, names that occur twice, types without names, circles
// through pointers, declarators that wind. Nothing here is run.
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name)))
#define TAG(text) __attribute__((btf_type_tag(text)))
#define NOTE(text) __attribute__((btf_decl_tag(text)))

enum color { RED, GREEN = 7, BLUE = 0xfffffff0u };
enum sign { MINUS = -2, PLUS };
enum wide { WIDE = 0x100000000ull, WIDER = 0xfffffffffffffff0ull };
enum wide_sign { LOW = -0x100000000ll };
enum __attribute__((packed)) tiny { TINY = 3 };
enum { NAMELESS_A, NAMELESS_B = 40 };

struct bits {
  unsigned int a : 3;
  unsigned int : 5;
  unsigned int b : 4;
  int c;
  unsigned long d : 33;
  unsigned long e : 2;
  char f;
  _Bool g : 1;
};
struct gaps {
  char a;
  char b __attribute__((aligned(8)));
  int c __attribute__((aligned(16)));
  char d;
} __attribute__((aligned(64)));
struct __attribute__((packed)) tight {
  char a;
  long b;
  short c;
};
struct holds_tight {
  char a;
  struct tight t[2];
  double d;
  float f;
};
struct nothing {};
union either {
  int i;
  struct {
    char low;
    union {
      short s;
      enum { INSIDE = 1 } inside;
    };
  };
  struct nothing n;
};

struct unknown;
union unknown_too;
struct node {
  struct node* next;
  struct tree* tree;
  struct unknown* u;
  union unknown_too* ut;
  struct {
    struct node* back;
    struct leaf* leaf;
  }* inner;
};
struct leaf {
  int value;
};
struct tree {
  struct leaf by_value;
  struct node nodes[2][3];
  struct holds_later* later;
};
typedef struct tree tree_t;
struct holds_later {
  tree_t tree;
  const volatile tree_t* const to_tree;
  char* restrict text;
};

typedef int (*callback_t)(struct node* node, const char* format, ...);
typedef callback_t (*chooser_t)(void);
typedef int table_t[4][5];
typedef struct {
  callback_t table[3];
  chooser_t choose;
  int (*(*get_row)(table_t* t, unsigned long))[5];
  void (*(*pairs)[2])(int (*)(void), enum color);
  int TAG("one") * TAG("two") TAG("three") * tagged;
  struct unknown TAG("kptr") * kept;
} winding_t;

// The same tag in two blocks: two types.
int first(void) {
  static volatile struct twice {
    int a;
  } one;
  return one.a++;
}
int second(void) {
  static volatile struct twice {
    long b;
  } two;
  return (int)two.b++;
}

struct everything {
  enum color color;
  enum sign sign;
  enum wide wide;
  enum wide_sign wide_sign;
  enum tiny tiny;
  struct bits bits;
  struct gaps gaps;
  struct holds_tight holds_tight;
  union either either;
  struct holds_later later;
  winding_t winding;
  int noted NOTE("a member");
  __int128 large;
} NOTE("a struct");

struct everything everything_in_bss;
static volatile const int constant = 5;
int initialised NOTE("a variable") = NAMELESS_B;
extern const int from_kconfig SEC(".kconfig") __attribute__((weak));
extern void from_kernel(struct node* node) SEC(".ksyms") __attribute__((weak));

static __attribute__((noinline)) int local(int NOTE("a parameter") a) { return a + constant; }

SEC("xdp") int program(struct xdp_md* ctx) {
  if (from_kernel) from_kernel(0);
  return local((int)ctx->data) + initialised + from_kconfig;
}
char _license[] SEC("license") = "GPL";
