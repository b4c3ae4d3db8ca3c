# The first instructions of the emulated machine: from reset in real mode to 64-bit mode with all state of AMX enabled, then
# into the program, which is copied from the ROM to RAM. Linked at 0xFFFF0000, the last 64 KiB of a ROM that ends at 4 GiB.
# PROGRAM_BYTES and ROM_BYTES are given by scripts/amx-emulated.mjs.
.set PROGRAM, 0x200000
.set STACK, 0xF00000
.set TABLES, 0x1000

.section .text
.code16
base:
start16:
  cli
  lgdtl %cs:(gdt_register - base)
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  ljmpl $8, $start32

.code32
start32:
  movw $16, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  inb $0x92, %al            # address line 20
  orb $2, %al
  outb %al, $0x92
  cld
  movl $(0x100000000 - ROM_BYTES), %esi
  movl $PROGRAM, %edi
  movl $((PROGRAM_BYTES + 3) / 4), %ecx
  rep movsl
  # The first 4 GiB as they are, pages of 2 MiB.
  movl $TABLES, %edi
  xorl %eax, %eax
  movl $0x1800, %ecx
  rep stosl
  movl $(TABLES + 0x1003), TABLES
  movl $(TABLES + 0x2003), %eax
  movl $(TABLES + 0x1000), %edi
  movl $4, %ecx
1:
  movl %eax, (%edi)
  addl $0x1000, %eax
  addl $8, %edi
  loop 1b
  movl $0x83, %eax
  movl $(TABLES + 0x2000), %edi
  movl $2048, %ecx
2:
  movl %eax, (%edi)
  addl $0x200000, %eax
  addl $8, %edi
  loop 2b
  movl $0x40620, %eax       # CR4: PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  movl %eax, %cr4
  movl $TABLES, %eax
  movl %eax, %cr3
  movl $0xC0000080, %ecx    # EFER.LME
  rdmsr
  orl $0x100, %eax
  wrmsr
  movl $0x80000023, %eax    # CR0: PG, NE, MP, PE
  movl %eax, %cr0
  ljmp $24, $start64

.code64
start64:
  xorl %ecx, %ecx           # XCR0: x87, SSE, AVX, AVX-512, tile configuration and data
  xorl %edx, %edx
  movl $0x600E7, %eax
  xsetbv
  movl $STACK, %esp
  movl $PROGRAM, %eax
  call *%rax
3:
  hlt
  jmp 3b

.balign 8
gdt:
  .quad 0
  .quad 0x00CF9B000000FFFF  # 8: code, 32 bits
  .quad 0x00CF93000000FFFF  # 16: data
  .quad 0x00AF9B000000FFFF  # 24: code, 64 bits
gdt_register:
  .word 31
  .long gdt

.org 0xFFF0
.code16
  jmp start16
.org 0x10000
