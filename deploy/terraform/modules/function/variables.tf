variable "name" {
  type = string
}

variable "image" {
  description = "The application's image with the extension in it"
  type        = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "architecture" {
  description = "arm64 or x86_64"
  type        = string
  default     = "arm64"
}

variable "memory" {
  description = "MB; 1769 is one vCPU"
  type        = number
  default     = 1769
}

variable "timeout" {
  description = "Seconds an instance may live; long lives are few cold starts"
  type        = number
  default     = 900
}

variable "reserved_concurrency" {
  description = "Environments at most, all routers together; -1: what the account has left"
  type        = number
  default     = -1
}

variable "environment" {
  description = "Variables of the application and the extension"
  type        = map(string)
  default     = {}
}

variable "tags" {
  type    = map(string)
  default = {}
}
